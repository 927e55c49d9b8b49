-- What each campaign added, as it was last measured (campaign_id 0: all marketing): measuring reads every person of an experiment, so pages
-- show what the job attribution.lift kept. unit, incremental, low, high repeat the first result, to order by; low and high are NULL where
-- nothing can be said yet. Amounts in minor units.
CREATE TABLE kept_lift (
    campaign_id BIGINT PRIMARY KEY,
    as_of       BIGINT NOT NULL,
    unit        TEXT NOT NULL,
    held        BIGINT NOT NULL,
    incremental BIGINT NOT NULL,
    low         BIGINT,
    high        BIGINT,
    result      TEXT NOT NULL
);
-- The campaigns that added most.
CREATE INDEX kept_lift_best ON kept_lift (unit, incremental);

-- Mails of which nobody knows whether they went out wait for a person's decision: Home and the campaign show how many.
CREATE INDEX touch_uncertain ON touch (campaign_id) WHERE state = 'uncertain';
