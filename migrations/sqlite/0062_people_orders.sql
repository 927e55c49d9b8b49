-- The list of people in each order that it offers, page by page. Who was erased or merged away is in none of them.
-- As the list names them: name, else address, else id in the shop.
CREATE INDEX person_by_name ON person (LOWER(COALESCE(first_name || ' ' || last_name, first_name, last_name, email, external_id, '')), id) WHERE erased_at IS NULL;
CREATE INDEX person_by_first_seen ON person (first_seen_at, id) WHERE erased_at IS NULL;
CREATE INDEX person_by_last_seen ON person (last_seen_at, id) WHERE erased_at IS NULL;
CREATE INDEX person_traits_orders ON person_traits (order_count, person_id);
CREATE INDEX person_traits_revenue ON person_traits (revenue_minor, person_id);
-- The audit log of a span of days.
CREATE INDEX audit_entry_at ON audit_entry (at, id);
