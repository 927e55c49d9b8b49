-- The creatives' pages: filters that an index serves, and what each copy came to.

-- Newest first by state (what waits for a person?), by campaign, and what a guardrail found.
CREATE INDEX ad_copy_state ON ad_copy (status, id);
CREATE INDEX ad_copy_campaign ON ad_copy (campaign_id, id);
CREATE INDEX ad_copy_found ON ad_copy (id) WHERE findings <> '[]';

-- What the touches with a copy came to, by the day on which they were planned (days since 1970, UTC). The job attribution.copies counts the last
-- days anew each time, so that late opens and clicks are in; older days stand. Banners count for the copy that they were drawn from.
CREATE TABLE copy_result (
    copy_id  BIGINT NOT NULL,
    day      BIGINT NOT NULL,
    sent     BIGINT NOT NULL,
    opened   BIGINT NOT NULL,
    viewable BIGINT NOT NULL,
    clicked  BIGINT NOT NULL,
    PRIMARY KEY (copy_id, day)
);
-- A day is counted anew as a whole.
CREATE INDEX copy_result_day ON copy_result (day);
