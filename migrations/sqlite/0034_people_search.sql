-- Finding people by the beginning of a name, in order and page by page. (Addresses and ids are found through person_identity's key.)
CREATE INDEX person_first_name ON person (LOWER(first_name), id) WHERE first_name IS NOT NULL;
CREATE INDEX person_last_name ON person (LOWER(last_name), id) WHERE last_name IS NOT NULL;
-- How many people there are, and the newest of them, without reading their rows.
CREATE INDEX person_living ON person (id) WHERE erased_at IS NULL;
