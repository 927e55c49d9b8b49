-- Credit of the orders of a span, without reading all credit there is: the funnel's last step.
CREATE INDEX credit_placed ON credit (placed_at);

-- Journeys that led to nothing, by clicks alone: most touches that somebody answered were only opened. Holds all that the question asks, so
-- that no touch is looked up.
CREATE INDEX touch_clicked ON touch (contact_at, person_id, id, campaign_id, variant_id, product_id, channel, arm, click_at) WHERE click_at IS NOT NULL;

-- Bounced and sent are not the same mails: one that the server refused at once bounced and was never sent. returned counts those that went
-- out and came back, so that delivered = sent - returned. The sums are added up anew.
ALTER TABLE touch_delta ADD COLUMN returned BIGINT NOT NULL DEFAULT 0;
ALTER TABLE rollup_touch ADD COLUMN returned BIGINT NOT NULL DEFAULT 0;
UPDATE rollup_state SET ready = FALSE;
DROP TRIGGER touch_counted;
DROP TRIGGER touch_signal_counted;

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
    INSERT INTO touch_delta (quarter, campaign_id, variant_id, channel, product_id, planned, held, skipped, failed, sent, opened, viewable, seen, clicked,
        returned)
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
        -(OLD.arm = 'treated' AND OLD.click_at IS NOT NULL),
        -(OLD.arm = 'treated' AND OLD.state IN ('sent', 'served', 'uncertain')
            AND EXISTS (SELECT 1 FROM touch_signal s WHERE s.touch_id = OLD.id AND s.kind = 'bounce'))),
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
        NEW.arm = 'treated' AND NEW.click_at IS NOT NULL,
        NEW.arm = 'treated' AND NEW.state IN ('sent', 'served', 'uncertain')
            AND EXISTS (SELECT 1 FROM touch_signal s WHERE s.touch_id = NEW.id AND s.kind = 'bounce'));
END;

-- Bounces, unsubscribes and complaints stamp no touch: the first of each kind counts.
CREATE TRIGGER touch_signal_counted AFTER INSERT ON touch_signal WHEN NEW.kind IN ('bounce', 'unsubscribe', 'complaint')
    AND NOT EXISTS (SELECT 1 FROM touch_signal s WHERE s.touch_id = NEW.touch_id AND s.kind = NEW.kind AND s.id <> NEW.id)
BEGIN
    INSERT INTO touch_delta (quarter, campaign_id, variant_id, channel, bounced, unsubscribed, complained, returned)
    SELECT t.due_at / 900000000, t.campaign_id, t.variant_id, t.channel, NEW.kind = 'bounce', NEW.kind = 'unsubscribe', NEW.kind = 'complaint',
        NEW.kind = 'bounce' AND t.arm = 'treated' AND t.state IN ('sent', 'served', 'uncertain')
    FROM touch t WHERE t.id = NEW.touch_id;
END;
