-- Exchanges in full: what a line item tells them, and every impression with the chance that its line item had.

-- adserver::Declared: private deal, IAB categories, advertiser's domain, creative attributes. Read whole with its line item, never searched.
ALTER TABLE line_item ADD COLUMN exchange TEXT NOT NULL DEFAULT '{}';

-- The chance that the line item had of the request (the lot between line items, and the throttles), so that line items can be weighed against
-- each other as creatives are by propensity. NULL: shown before this was logged, or not worked out.
ALTER TABLE impression ADD COLUMN item_chance REAL;

-- For analysts: every impression with its chances, and what came of it.
DROP VIEW v_ad_impression;
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
    i.item_chance AS item_chance,
    i.cost_micro AS cost_micro,
    CASE WHEN t.viewable_at IS NULL THEN 0 ELSE 1 END AS viewable,
    CASE WHEN t.click_at IS NULL THEN 0 ELSE 1 END AS clicked
FROM impression i LEFT JOIN touch t ON t.id = i.touch_id;
