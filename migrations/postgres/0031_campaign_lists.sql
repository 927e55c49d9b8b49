-- The list of campaigns, in each order that it offers (keyset paging needs a column and the id).
CREATE INDEX campaign_name ON campaign (name, id);
-- By next run; campaigns without one come last.
CREATE INDEX campaign_next_any ON campaign (COALESCE(next_run_at, 9223372036854775807), id);
-- The calendar: runs of a span of time, whichever campaign's.
CREATE INDEX campaign_run_time ON campaign_run (scheduled_at);
