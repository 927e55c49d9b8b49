-- Pages and reports at ten million touches: what they still counted is read from narrow indexes or from sums, and adding up anew no longer holds
-- the writer.

-- Why touches of a campaign did not go out, without reading the touches.
CREATE INDEX touch_left_out ON touch (campaign_id, state, reason) WHERE state IN ('skipped', 'failed', 'cancelled', 'expired', 'deferred');
-- What waits to be folded of one campaign: its live progress adds it, and an adding up drops it.
CREATE INDEX touch_delta_campaign ON touch_delta (campaign_id, id);
-- A campaign's top products: those clicked are few among those sent, which are read only where nobody clicked.
DROP INDEX rollup_product_campaign;
CREATE INDEX rollup_product_campaign ON rollup_product (campaign_id, product_id, sent);
CREATE INDEX rollup_product_clicked ON rollup_product (campaign_id, product_id, clicked, sent) WHERE clicked > 0;
-- What orders that count came to over a span, without reading the orders (SQLite wants the condition's columns in it too).
CREATE INDEX shop_order_counted ON shop_order (placed_at, currency, total_minor, refunded_minor, flag, source, id) WHERE flag IS NULL AND source <> 'page';
-- Cohorts: each person's kept orders, in order.
CREATE INDEX shop_order_kept ON shop_order (person_id, placed_at, currency, total_minor, refunded_minor, flag, source, status)
    WHERE flag IS NULL AND source <> 'page' AND status NOT IN ('cancelled', 'refunded') AND person_id IS NOT NULL;
-- People first seen in a span.
CREATE INDEX person_first_seen ON person (first_seen_at) WHERE merged_into IS NULL;

-- Adding up anew goes part by part, so that it can stop and go on: a campaign ('campaign', its id), or some thousand people ('people', their
-- number). build: of which adding up; attempt: who is at it (a later one takes over); through: the last difference that its sums hold, NULL until
-- they are written.
CREATE TABLE rollup_part (
    kind    TEXT NOT NULL,
    part    BIGINT NOT NULL,
    build   BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    through BIGINT,
    PRIMARY KEY (kind, part)
);

-- What changed in events, as signed counts by person and quarter of an hour, written by triggers in the transaction that makes it; folded by the
-- job attribution.rollup. Group calls are nobody's visit.
CREATE TABLE event_delta (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    person_id BIGINT NOT NULL,
    quarter   BIGINT NOT NULL,
    events    BIGINT NOT NULL
);
CREATE TRIGGER event_counted_new AFTER INSERT ON event WHEN NEW.kind <> 'group' BEGIN
    INSERT INTO event_delta (person_id, quarter, events) VALUES (NEW.person_id, NEW.occurred_at / 900000000, 1);
END;
CREATE TRIGGER event_counted_gone AFTER DELETE ON event WHEN OLD.kind <> 'group' BEGIN
    INSERT INTO event_delta (person_id, quarter, events) VALUES (OLD.person_id, OLD.occurred_at / 900000000, -1);
END;
-- Merged profiles; a page that says later when something really was.
CREATE TRIGGER event_counted AFTER UPDATE OF person_id, occurred_at, kind ON event
    WHEN NEW.person_id <> OLD.person_id OR NEW.occurred_at <> OLD.occurred_at OR NEW.kind <> OLD.kind
BEGIN
    INSERT INTO event_delta (person_id, quarter, events)
    SELECT person_id, quarter, n FROM (SELECT OLD.person_id AS person_id, OLD.occurred_at / 900000000 AS quarter, -1 AS n, OLD.kind AS kind
        UNION ALL SELECT NEW.person_id, NEW.occurred_at / 900000000, 1, NEW.kind) d WHERE d.kind <> 'group';
END;

-- The days (since 1970, in the state's zone) on which each person was here, and how much they did: what engagement is read from.
CREATE TABLE rollup_visit (
    person_id BIGINT NOT NULL,
    day       BIGINT NOT NULL,
    events    BIGINT NOT NULL,
    PRIMARY KEY (person_id, day)
) WITHOUT ROWID;
-- Who was here in a short span.
CREATE INDEX rollup_visit_day ON rollup_visit (day, person_id);

-- Engagement by day, week and month (unit; period: its first day). came_back: of those people, who were also here in the period before.
CREATE TABLE rollup_engagement (
    unit        TEXT NOT NULL,
    period      BIGINT NOT NULL,
    people      BIGINT NOT NULL,
    came_back   BIGINT NOT NULL,
    active_days BIGINT NOT NULL,
    events      BIGINT NOT NULL,
    PRIMARY KEY (unit, period)
);

-- Everything is added up once more, visits for the first time.
UPDATE rollup_state SET zone = '', ready = FALSE;
