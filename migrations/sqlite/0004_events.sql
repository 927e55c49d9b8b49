-- Events are immutable facts; orders are what some of them add up to.

CREATE TABLE event (
    id          BLOB PRIMARY KEY,
    person_id   BIGINT NOT NULL REFERENCES person (id),
    kind        TEXT NOT NULL,
    name        TEXT NOT NULL,
    product_id  BIGINT REFERENCES product (id),
    occurred_at BIGINT NOT NULL,
    received_at BIGINT NOT NULL,
    properties  TEXT NOT NULL
);
-- A person's timeline, and "did X within D days" in segments.
CREATE INDEX event_person_time ON event (person_id, name, occurred_at);
CREATE INDEX event_time ON event (occurred_at);

-- messageId de-duplication: the key is a 16-byte hash of it. Apart from event so that old keys can be dropped, events kept.
CREATE TABLE event_message (
    message_key BLOB PRIMARY KEY,
    received_at BIGINT NOT NULL
);

CREATE TABLE shop_order (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    order_ref      TEXT NOT NULL UNIQUE,
    person_id      BIGINT REFERENCES person (id),
    placed_at      BIGINT NOT NULL,
    currency       TEXT NOT NULL,
    total_minor    BIGINT NOT NULL,
    refunded_minor BIGINT NOT NULL DEFAULT 0,
    status         TEXT NOT NULL,
    flag           TEXT,
    source         TEXT NOT NULL,
    updated_at     BIGINT NOT NULL
);
CREATE INDEX shop_order_person ON shop_order (person_id, placed_at);
CREATE INDEX shop_order_time ON shop_order (placed_at);
CREATE INDEX shop_order_updated ON shop_order (updated_at);

CREATE TABLE order_line (
    order_id           BIGINT NOT NULL REFERENCES shop_order (id),
    line_no            BIGINT NOT NULL,
    product_id         BIGINT REFERENCES product (id),
    sku                TEXT NOT NULL,
    title              TEXT NOT NULL,
    quantity           BIGINT NOT NULL,
    cancelled_quantity BIGINT NOT NULL DEFAULT 0,
    unit_price_minor   BIGINT NOT NULL,
    flag               TEXT,
    PRIMARY KEY (order_id, line_no)
);
CREATE INDEX order_line_product ON order_line (product_id);

-- Refunds and cancellations, each with its own reference so that a webhook sent twice counts once.
CREATE TABLE order_adjustment (
    ref          TEXT PRIMARY KEY,
    order_id     BIGINT NOT NULL REFERENCES shop_order (id),
    kind         TEXT NOT NULL,
    at           BIGINT NOT NULL,
    amount_minor BIGINT NOT NULL
);
CREATE INDEX order_adjustment_order ON order_adjustment (order_id);
