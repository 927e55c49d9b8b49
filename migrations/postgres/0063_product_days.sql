-- What products came to, day by day, for the last three months: for longer rollup_product holds months, because days would hold a row for nearly
-- every touch. The fold takes out what is older.
CREATE TABLE rollup_product_day (
    product_id  BIGINT NOT NULL,
    day         BIGINT NOT NULL,
    campaign_id BIGINT NOT NULL,
    sent        BIGINT NOT NULL,
    opened      BIGINT NOT NULL,
    viewable    BIGINT NOT NULL,
    clicked     BIGINT NOT NULL,
    PRIMARY KEY (product_id, day, campaign_id)
);
-- What has become too old.
CREATE INDEX rollup_product_day_day ON rollup_product_day (day);
-- A campaign that is added up anew.
CREATE INDEX rollup_product_day_campaign ON rollup_product_day (campaign_id);
UPDATE rollup_state SET ready = FALSE;
