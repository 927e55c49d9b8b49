-- The rollup: what campaigns, variants, channels and products came to, added up per day, so that pages need not count touches.
--
-- A touch's changes are written down by triggers, in the transaction that makes them, as signed differences; a job folds them into the sums.
-- So the work follows the news, a late click or a resent mail corrects the day it belongs to, and nothing is counted twice or lost.

-- Differences that wait to be folded. quarter: due_at in quarters of an hour, of which every zone's midnight is a boundary.
-- product_id only of what went out: before that the choice may still change.
CREATE TABLE touch_delta (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    quarter      BIGINT NOT NULL,
    campaign_id  BIGINT NOT NULL,
    variant_id   BIGINT,
    channel      TEXT NOT NULL,
    product_id   BIGINT,
    planned      BIGINT NOT NULL DEFAULT 0,
    held         BIGINT NOT NULL DEFAULT 0,
    skipped      BIGINT NOT NULL DEFAULT 0,
    failed       BIGINT NOT NULL DEFAULT 0,
    sent         BIGINT NOT NULL DEFAULT 0,
    opened       BIGINT NOT NULL DEFAULT 0,
    viewable     BIGINT NOT NULL DEFAULT 0,
    seen         BIGINT NOT NULL DEFAULT 0,
    clicked      BIGINT NOT NULL DEFAULT 0,
    bounced      BIGINT NOT NULL DEFAULT 0,
    unsubscribed BIGINT NOT NULL DEFAULT 0,
    complained   BIGINT NOT NULL DEFAULT 0
);

CREATE TRIGGER touch_counted_new AFTER INSERT ON touch WHEN NEW.arm = 'treated' OR NEW.state = 'held' BEGIN
    INSERT INTO touch_delta (quarter, campaign_id, variant_id, channel, product_id, planned, held, skipped, failed, sent, opened, viewable, seen, clicked)
    VALUES (NEW.due_at / 900000000, NEW.campaign_id, NEW.variant_id, NEW.channel,
        CASE WHEN NEW.state IN ('sent', 'served', 'uncertain') THEN NEW.product_id END,
        NEW.arm = 'treated',
        NEW.arm = 'ghost' AND NEW.state = 'held',
        NEW.arm = 'treated' AND NEW.state IN ('skipped', 'expired', 'cancelled'),
        NEW.arm = 'treated' AND NEW.state = 'failed',
        NEW.arm = 'treated' AND NEW.state IN ('sent', 'served', 'uncertain'),
        NEW.arm = 'treated' AND NEW.open_at IS NOT NULL,
        NEW.arm = 'treated' AND NEW.viewable_at IS NOT NULL,
        NEW.arm = 'treated' AND COALESCE(NEW.open_at, NEW.viewable_at, NEW.click_at) IS NOT NULL,
        NEW.arm = 'treated' AND NEW.click_at IS NOT NULL);
END;

-- Only where something countable changed: claims, leases and retries cost a comparison.
CREATE TRIGGER touch_counted AFTER UPDATE OF state, arm, open_at, viewable_at, click_at, due_at, campaign_id, variant_id, product_id ON touch WHEN
    (NEW.state IN ('sent', 'served', 'uncertain')) <> (OLD.state IN ('sent', 'served', 'uncertain'))
    OR (NEW.state IN ('skipped', 'expired', 'cancelled')) <> (OLD.state IN ('skipped', 'expired', 'cancelled'))
    OR (NEW.state = 'failed') <> (OLD.state = 'failed') OR (NEW.state = 'held') <> (OLD.state = 'held')
    OR (NEW.open_at IS NULL) <> (OLD.open_at IS NULL) OR (NEW.viewable_at IS NULL) <> (OLD.viewable_at IS NULL)
    OR (NEW.click_at IS NULL) <> (OLD.click_at IS NULL)
    OR NEW.arm <> OLD.arm OR NEW.due_at <> OLD.due_at OR NEW.campaign_id <> OLD.campaign_id OR NEW.variant_id IS NOT OLD.variant_id
    OR (NEW.product_id IS NOT OLD.product_id AND NEW.state IN ('sent', 'served', 'uncertain'))
BEGIN
    INSERT INTO touch_delta (quarter, campaign_id, variant_id, channel, product_id, planned, held, skipped, failed, sent, opened, viewable, seen, clicked)
    VALUES (OLD.due_at / 900000000, OLD.campaign_id, OLD.variant_id, OLD.channel,
        CASE WHEN OLD.state IN ('sent', 'served', 'uncertain') THEN OLD.product_id END,
        -(OLD.arm = 'treated'),
        -(OLD.arm = 'ghost' AND OLD.state = 'held'),
        -(OLD.arm = 'treated' AND OLD.state IN ('skipped', 'expired', 'cancelled')),
        -(OLD.arm = 'treated' AND OLD.state = 'failed'),
        -(OLD.arm = 'treated' AND OLD.state IN ('sent', 'served', 'uncertain')),
        -(OLD.arm = 'treated' AND OLD.open_at IS NOT NULL),
        -(OLD.arm = 'treated' AND OLD.viewable_at IS NOT NULL),
        -(OLD.arm = 'treated' AND COALESCE(OLD.open_at, OLD.viewable_at, OLD.click_at) IS NOT NULL),
        -(OLD.arm = 'treated' AND OLD.click_at IS NOT NULL)),
    (NEW.due_at / 900000000, NEW.campaign_id, NEW.variant_id, NEW.channel,
        CASE WHEN NEW.state IN ('sent', 'served', 'uncertain') THEN NEW.product_id END,
        NEW.arm = 'treated',
        NEW.arm = 'ghost' AND NEW.state = 'held',
        NEW.arm = 'treated' AND NEW.state IN ('skipped', 'expired', 'cancelled'),
        NEW.arm = 'treated' AND NEW.state = 'failed',
        NEW.arm = 'treated' AND NEW.state IN ('sent', 'served', 'uncertain'),
        NEW.arm = 'treated' AND NEW.open_at IS NOT NULL,
        NEW.arm = 'treated' AND NEW.viewable_at IS NOT NULL,
        NEW.arm = 'treated' AND COALESCE(NEW.open_at, NEW.viewable_at, NEW.click_at) IS NOT NULL,
        NEW.arm = 'treated' AND NEW.click_at IS NOT NULL);
END;

-- Bounces, unsubscribes and complaints stamp no touch: the first of each kind counts.
CREATE TRIGGER touch_signal_counted AFTER INSERT ON touch_signal WHEN NEW.kind IN ('bounce', 'unsubscribe', 'complaint')
    AND NOT EXISTS (SELECT 1 FROM touch_signal s WHERE s.touch_id = NEW.touch_id AND s.kind = NEW.kind AND s.id <> NEW.id)
BEGIN
    INSERT INTO touch_delta (quarter, campaign_id, variant_id, channel, bounced, unsubscribed, complained)
    SELECT t.due_at / 900000000, t.campaign_id, t.variant_id, t.channel, NEW.kind = 'bounce', NEW.kind = 'unsubscribe', NEW.kind = 'complaint'
    FROM touch t WHERE t.id = NEW.touch_id;
END;

-- In which zone days are cut, how far differences are folded, and whether every campaign has been added up in that zone (ready).
-- generation: written by every transaction that changes the sums, so that they take turns. build: the number of the last adding up.
CREATE TABLE rollup_state (
    id         INTEGER PRIMARY KEY,
    zone       TEXT NOT NULL,
    ready      BOOLEAN NOT NULL,
    build      BIGINT NOT NULL,
    generation BIGINT NOT NULL,
    as_of      BIGINT
);
INSERT INTO rollup_state (id, zone, ready, build, generation) VALUES (1, '', FALSE, 0, 0);

-- Counts of touches by the day they were due (days since 1970 in the state's zone); a click counts on the day of its touch, so that shares
-- never exceed one. variant_id 0: none.
CREATE TABLE rollup_touch (
    campaign_id  BIGINT NOT NULL,
    day          BIGINT NOT NULL,
    variant_id   BIGINT NOT NULL,
    channel      TEXT NOT NULL,
    planned      BIGINT NOT NULL,
    held         BIGINT NOT NULL,
    skipped      BIGINT NOT NULL,
    failed       BIGINT NOT NULL,
    sent         BIGINT NOT NULL,
    opened       BIGINT NOT NULL,
    viewable     BIGINT NOT NULL,
    seen         BIGINT NOT NULL,
    clicked      BIGINT NOT NULL,
    bounced      BIGINT NOT NULL,
    unsubscribed BIGINT NOT NULL,
    complained   BIGINT NOT NULL,
    PRIMARY KEY (campaign_id, day, variant_id, channel)
);
-- All campaigns over a span: Home, totals.
CREATE INDEX rollup_touch_day ON rollup_touch (day);

-- What credit gives, by the day of the order. orders: those on whose path the campaign is, each once per campaign; last_orders: those whose
-- last touch it was.
CREATE TABLE rollup_credit (
    campaign_id      BIGINT NOT NULL,
    day              BIGINT NOT NULL,
    variant_id       BIGINT NOT NULL,
    channel          TEXT NOT NULL,
    currency         TEXT NOT NULL,
    view_through     BOOLEAN NOT NULL,
    orders           BIGINT NOT NULL,
    last_orders      BIGINT NOT NULL,
    first_minor      BIGINT NOT NULL,
    last_minor       BIGINT NOT NULL,
    linear_minor     BIGINT NOT NULL,
    time_decay_minor BIGINT NOT NULL,
    position_minor   BIGINT NOT NULL,
    PRIMARY KEY (campaign_id, day, variant_id, channel, currency, view_through)
);
CREATE INDEX rollup_credit_day ON rollup_credit (day);

-- Per product that touches were about, by month (its first day): days would hold a row for nearly every touch.
CREATE TABLE rollup_product (
    product_id  BIGINT NOT NULL,
    campaign_id BIGINT NOT NULL,
    month       BIGINT NOT NULL,
    sent        BIGINT NOT NULL,
    opened      BIGINT NOT NULL,
    viewable    BIGINT NOT NULL,
    clicked     BIGINT NOT NULL,
    PRIMARY KEY (product_id, campaign_id, month)
);
-- The top products of one campaign.
CREATE INDEX rollup_product_campaign ON rollup_product (campaign_id);

CREATE TABLE rollup_product_credit (
    product_id       BIGINT NOT NULL,
    campaign_id      BIGINT NOT NULL,
    month            BIGINT NOT NULL,
    currency         TEXT NOT NULL,
    view_through     BOOLEAN NOT NULL,
    last_orders      BIGINT NOT NULL,
    first_minor      BIGINT NOT NULL,
    last_minor       BIGINT NOT NULL,
    linear_minor     BIGINT NOT NULL,
    time_decay_minor BIGINT NOT NULL,
    position_minor   BIGINT NOT NULL,
    PRIMARY KEY (product_id, campaign_id, month, currency, view_through)
);
CREATE INDEX rollup_product_credit_campaign ON rollup_product_credit (campaign_id);

-- Counts that would need a scan (people, products, orders, events), by name; kept by the same job.
CREATE TABLE rollup_count (
    name  TEXT PRIMARY KEY,
    value BIGINT NOT NULL,
    as_of BIGINT NOT NULL
);

-- Credit carries the order's day and currency as they were when it was given: an order that moves or changes must be taken out where it was
-- put in.
ALTER TABLE credit ADD COLUMN placed_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE credit ADD COLUMN currency TEXT NOT NULL DEFAULT '';
UPDATE credit SET placed_at = (SELECT o.placed_at FROM shop_order o WHERE o.id = credit.order_id),
    currency = (SELECT o.currency FROM shop_order o WHERE o.id = credit.order_id);
