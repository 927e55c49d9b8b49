-- Serving in full: placements with rules, line items, what was shown, by which chance, and what it came to.

-- site: host of the pages it stands on (empty: any). formats: JSON list of further sizes ("336x280") that fit too. floor_minor: the least a
-- priced line item must bring per thousand impressions. rules: adserver::Targeting. exchange: may be bid for over OpenRTB.
ALTER TABLE placement ADD COLUMN site TEXT NOT NULL DEFAULT '';
ALTER TABLE placement ADD COLUMN formats TEXT NOT NULL DEFAULT '[]';
ALTER TABLE placement ADD COLUMN floor_minor BIGINT NOT NULL DEFAULT 0;
ALTER TABLE placement ADD COLUMN rules TEXT NOT NULL DEFAULT '{}';
ALTER TABLE placement ADD COLUMN exchange BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE placement ADD COLUMN paused BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE placement ADD COLUMN updated_at BIGINT NOT NULL DEFAULT 0;

-- A campaign on a placement: how much, when, how fast, at which price. A campaign without any serves on the placements of its plan.
-- tier: sponsored | standard | house. budget_kind: none | impressions | clicks | money (minor units). price_kind: free | cpm | cpc (minor units
-- per thousand impressions, or per click). pacing: even | fast. choice: thompson | weights. status: active | paused | archived.
CREATE TABLE line_item (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    campaign_id  BIGINT NOT NULL REFERENCES campaign (id),
    placement_id BIGINT NOT NULL REFERENCES placement (id),
    name         TEXT NOT NULL,
    tier         TEXT NOT NULL,
    budget_kind  TEXT NOT NULL,
    budget       BIGINT NOT NULL,
    price_kind   TEXT NOT NULL,
    price_minor  BIGINT NOT NULL,
    starts_at    BIGINT,
    ends_at      BIGINT,
    pacing       TEXT NOT NULL,
    cap_per_day  BIGINT NOT NULL,
    choice       TEXT NOT NULL,
    targeting    TEXT NOT NULL,
    status       TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    updated_at   BIGINT NOT NULL
);
-- The line items of a placement or a campaign.
CREATE INDEX line_item_placement ON line_item (placement_id, id);
CREATE INDEX line_item_campaign ON line_item (campaign_id, id);
-- Did any change? (asked every second)
CREATE INDEX line_item_updated ON line_item (updated_at);

-- Every impression with the chance that its creative had (propensity), in the order in which its replica showed them: other replicas follow
-- the sequence, and nobody counts a day anew. subject: a keyed number for person or browser. line_item_id 0: none, the campaign's own.
-- cost_micro: millionths of a minor unit.
CREATE TABLE impression (
    replica      BIGINT NOT NULL,
    seq          BIGINT NOT NULL,
    touch_id     BLOB NOT NULL,
    at           BIGINT NOT NULL,
    subject      BIGINT NOT NULL,
    campaign_id  BIGINT NOT NULL,
    line_item_id BIGINT NOT NULL,
    placement_id BIGINT NOT NULL,
    variant_id   BIGINT NOT NULL,
    product_id   BIGINT NOT NULL,
    creative_id  BIGINT NOT NULL,
    propensity   REAL NOT NULL,
    cost_micro   BIGINT NOT NULL,
    PRIMARY KEY (replica, seq)
);
-- An impression that is written a second time (a commit whose answer was lost) counts once; the propensity of a touch.
CREATE UNIQUE INDEX impression_touch ON impression (touch_id);
-- What was shown today, at the start of a replica.
CREATE INDEX impression_at ON impression (at);

-- Replicas and how far each has come: what the others have yet to read.
CREATE TABLE ad_replica (
    replica  BIGINT PRIMARY KEY,
    last_seq BIGINT NOT NULL,
    seen_at  BIGINT NOT NULL
);

-- What was shown, seen, clicked and spent per hour (hours since 1970, UTC): charts, pacing, fill.
CREATE TABLE ad_hour (
    hour         BIGINT NOT NULL,
    placement_id BIGINT NOT NULL,
    campaign_id  BIGINT NOT NULL,
    line_item_id BIGINT NOT NULL,
    shown        BIGINT NOT NULL,
    viewable     BIGINT NOT NULL,
    clicks       BIGINT NOT NULL,
    cost_micro   BIGINT NOT NULL,
    PRIMARY KEY (hour, placement_id, campaign_id, line_item_id)
);
-- A line item's curve.
CREATE INDEX ad_hour_item ON ad_hour (line_item_id, hour);
-- A placement's figures.
CREATE INDEX ad_hour_placement ON ad_hour (placement_id, hour);

-- A line item's whole consumption, read every second by every replica. delay_us: sum of the times from impression to click.
CREATE TABLE ad_total (
    campaign_id  BIGINT NOT NULL,
    line_item_id BIGINT NOT NULL,
    shown        BIGINT NOT NULL,
    viewable     BIGINT NOT NULL,
    clicks       BIGINT NOT NULL,
    cost_micro   BIGINT NOT NULL,
    delay_us     BIGINT NOT NULL,
    PRIMARY KEY (campaign_id, line_item_id)
);

-- The arms of the choice: what each creative came to under each line item.
CREATE TABLE ad_arm (
    campaign_id  BIGINT NOT NULL,
    line_item_id BIGINT NOT NULL,
    creative_id  BIGINT NOT NULL,
    variant_id   BIGINT NOT NULL,
    shown        BIGINT NOT NULL,
    clicks       BIGINT NOT NULL,
    updated_at   BIGINT NOT NULL,
    PRIMARY KEY (campaign_id, line_item_id, creative_id)
);
-- Arms that changed since the posteriors were drawn.
CREATE INDEX ad_arm_updated ON ad_arm (updated_at);

-- How often each placement was asked for, and how that ended ('filled' or the reason of no fill), per hour: fill rate and forecast.
CREATE TABLE ad_request (
    hour         BIGINT NOT NULL,
    placement_id BIGINT NOT NULL,
    outcome      TEXT NOT NULL,
    requests     BIGINT NOT NULL,
    PRIMARY KEY (hour, placement_id, outcome)
);
CREATE INDEX ad_request_placement ON ad_request (placement_id, hour);

-- The ad server reads only people who changed.
CREATE INDEX person_changed ON person (updated_at, id);
-- Creatives drawn anew keep their id: the ad server asks when the last was.
CREATE INDEX creative_updated ON creative (updated_at);

-- For analysts: every impression with its propensity, and what came of it.
CREATE VIEW v_ad_impression AS
SELECT
    strftime('%Y-%m-%dT%H:%M:%S', i.at / 1000000, 'unixepoch') || printf('.%06dZ', i.at % 1000000) AS shown_at,
    i.campaign_id AS campaign_id,
    i.line_item_id AS line_item_id,
    i.placement_id AS placement_id,
    i.variant_id AS variant_id,
    i.product_id AS product_id,
    i.creative_id AS creative_id,
    i.propensity AS propensity,
    i.cost_micro AS cost_micro,
    CASE WHEN t.viewable_at IS NULL THEN 0 ELSE 1 END AS viewable,
    CASE WHEN t.click_at IS NULL THEN 0 ELSE 1 END AS clicked
FROM impression i LEFT JOIN touch t ON t.id = i.touch_id;
