-- Credit: which part of an order each touch earned, under every model at once. One row per touch on the order's path, in order of time;
-- orders without a path have no rows. What no row gives away is unattributed: reports take it from the orders themselves, so that every
-- sum equals the orders. view_through tells the two readings of a path apart: clicks only, or also human opens and viewable banners.
-- Campaign, variant, product and channel repeat the touch's, so that reports need no join with it.
CREATE TABLE credit (
    order_id         BIGINT NOT NULL REFERENCES shop_order (id),
    view_through     BOOLEAN NOT NULL,
    position         BIGINT NOT NULL,
    touch_id         UUID NOT NULL,
    campaign_id      BIGINT NOT NULL,
    variant_id       BIGINT,
    product_id       BIGINT,
    channel          TEXT NOT NULL,
    first_minor      BIGINT NOT NULL,
    last_minor       BIGINT NOT NULL,
    linear_minor     BIGINT NOT NULL,
    time_decay_minor BIGINT NOT NULL,
    position_minor   BIGINT NOT NULL,
    -- When the touch earned its place: the click, or (view-through) when it was seen.
    earned_at        BIGINT NOT NULL,
    computed_at      BIGINT NOT NULL,
    PRIMARY KEY (order_id, view_through, position)
);
-- What did this touch, this campaign earn?
CREATE INDEX credit_touch ON credit (touch_id);
CREATE INDEX credit_campaign ON credit (campaign_id, view_through);

-- Reports that were delivered (setting attribution.deliveries), one row per delivery and time it was due: what is here is not delivered again.
CREATE TABLE report_delivery (
    name         TEXT NOT NULL,
    due_at       BIGINT NOT NULL,
    delivered_at BIGINT NOT NULL,
    detail       TEXT NOT NULL,
    PRIMARY KEY (name, due_at)
);
