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

-- A touch whose group stays the same is not asked for its bounces.
CREATE OR REPLACE FUNCTION touch_counted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO touch_delta (quarter, campaign_id, variant_id, channel, product_id, planned, held, skipped, failed, sent, opened, viewable, seen, clicked, returned)
    SELECT * FROM (
        SELECT t.due_at / 900000000, t.campaign_id, t.variant_id, t.channel,
            CASE WHEN t.state IN ('sent', 'served', 'uncertain') THEN t.product_id END,
            SUM(CASE WHEN t.arm = 'treated' THEN t.sign ELSE 0 END) AS planned,
            SUM(CASE WHEN t.arm = 'ghost' AND t.state = 'held' THEN t.sign ELSE 0 END) AS held,
            SUM(CASE WHEN t.arm = 'treated' AND t.state IN ('skipped', 'expired', 'cancelled') THEN t.sign ELSE 0 END) AS skipped,
            SUM(CASE WHEN t.arm = 'treated' AND t.state = 'failed' THEN t.sign ELSE 0 END) AS failed,
            SUM(CASE WHEN t.arm = 'treated' AND t.state IN ('sent', 'served', 'uncertain') THEN t.sign ELSE 0 END) AS sent,
            SUM(CASE WHEN t.arm = 'treated' AND t.open_at IS NOT NULL THEN t.sign ELSE 0 END) AS opened,
            SUM(CASE WHEN t.arm = 'treated' AND t.viewable_at IS NOT NULL THEN t.sign ELSE 0 END) AS viewable,
            SUM(CASE WHEN t.arm = 'treated' AND COALESCE(t.open_at, t.viewable_at, t.click_at) IS NOT NULL THEN t.sign ELSE 0 END) AS seen,
            SUM(CASE WHEN t.arm = 'treated' AND t.click_at IS NOT NULL THEN t.sign ELSE 0 END) AS clicked,
            SUM(CASE WHEN t.arm = 'treated' AND t.moved AND t.state IN ('sent', 'served', 'uncertain')
                AND EXISTS (SELECT 1 FROM touch_signal s WHERE s.touch_id = t.id AND s.kind = 'bounce') THEN t.sign ELSE 0 END) AS returned
        FROM (
            SELECT 1 AS sign, n.id, (n.state IN ('sent', 'served', 'uncertain')) <> (o.state IN ('sent', 'served', 'uncertain')) OR n.campaign_id <> o.campaign_id OR n.due_at <> o.due_at
                OR n.variant_id IS DISTINCT FROM o.variant_id OR n.product_id IS DISTINCT FROM o.product_id OR n.arm <> o.arm AS moved, n.due_at, n.campaign_id, n.variant_id, n.channel, n.product_id, n.state, n.arm, n.open_at, n.viewable_at, n.click_at FROM new_rows n JOIN old_rows o ON o.id = n.id
            UNION ALL
            SELECT -1, o.id, (n.state IN ('sent', 'served', 'uncertain')) <> (o.state IN ('sent', 'served', 'uncertain')) OR n.campaign_id <> o.campaign_id OR n.due_at <> o.due_at
                OR n.variant_id IS DISTINCT FROM o.variant_id OR n.product_id IS DISTINCT FROM o.product_id OR n.arm <> o.arm, o.due_at, o.campaign_id, o.variant_id, o.channel, o.product_id, o.state, o.arm, o.open_at, o.viewable_at, o.click_at FROM new_rows n JOIN old_rows o ON o.id = n.id
        ) t
        GROUP BY 1, 2, 3, 4, 5
    ) d WHERE d.planned <> 0 OR d.held <> 0 OR d.skipped <> 0 OR d.failed <> 0 OR d.sent <> 0 OR d.opened <> 0 OR d.viewable <> 0 OR d.seen <> 0 OR d.clicked <> 0 OR d.returned <> 0;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION touch_signal_counted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM new_rows WHERE kind IN ('bounce', 'unsubscribe', 'complaint')) THEN
        RETURN NULL;
    END IF;
    PERFORM pg_advisory_xact_lock(k.key) FROM (
        SELECT DISTINCT hashtextextended(touch_id::text || kind, 40) AS key FROM new_rows WHERE kind IN ('bounce', 'unsubscribe', 'complaint') ORDER BY 1
    ) k;
    INSERT INTO touch_delta (quarter, campaign_id, variant_id, channel, bounced, unsubscribed, complained, returned)
    SELECT t.due_at / 900000000, t.campaign_id, t.variant_id, t.channel, SUM(CASE WHEN n.kind = 'bounce' THEN 1 ELSE 0 END),
        SUM(CASE WHEN n.kind = 'unsubscribe' THEN 1 ELSE 0 END), SUM(CASE WHEN n.kind = 'complaint' THEN 1 ELSE 0 END),
        SUM(CASE WHEN n.kind = 'bounce' AND t.arm = 'treated' AND t.state IN ('sent', 'served', 'uncertain') THEN 1 ELSE 0 END)
    FROM (SELECT DISTINCT touch_id, kind FROM new_rows WHERE kind IN ('bounce', 'unsubscribe', 'complaint')) n JOIN touch t ON t.id = n.touch_id
    WHERE NOT EXISTS (SELECT 1 FROM touch_signal s WHERE s.touch_id = n.touch_id AND s.kind = n.kind AND s.id NOT IN (SELECT id FROM new_rows))
    GROUP BY 1, 2, 3, 4;
    RETURN NULL;
END $$;
