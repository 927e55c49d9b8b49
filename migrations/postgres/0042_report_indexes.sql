-- Credit of the orders of a span, without reading all credit there is: the funnel's last step.
CREATE INDEX credit_placed ON credit (placed_at);

-- Journeys that led to nothing, by clicks alone: most touches that somebody answered were only opened. Holds all that the question asks, so
-- that no touch is looked up.
CREATE INDEX touch_clicked ON touch (contact_at, person_id, id, campaign_id, variant_id, product_id, channel, arm, click_at) WHERE click_at IS NOT NULL;
