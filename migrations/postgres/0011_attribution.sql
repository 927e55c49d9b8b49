-- Credit: which share of an order each touch gets, per model. touch_id NULL: nobody earned it (unattributed).

CREATE TABLE credit (
    order_id     BIGINT NOT NULL REFERENCES shop_order (id),
    model        TEXT NOT NULL,
    position     BIGINT NOT NULL,
    touch_id     UUID,
    amount_minor BIGINT NOT NULL,
    currency     TEXT NOT NULL,
    computed_at  BIGINT NOT NULL,
    PRIMARY KEY (order_id, model, position)
);
CREATE INDEX credit_touch ON credit (touch_id);
