-- Events are immutable facts; orders are what some of them add up to.

-- kind: track | page | screen | group; name: what happened ("Product Viewed"). properties: a JSON object, blanked when its person is erased.
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
-- Counts and exports by time.
CREATE INDEX event_time ON event (occurred_at);

-- messageId de-duplication: the key is a 16-byte hash of it. Apart from event so that old keys can be dropped, events kept.
CREATE TABLE event_message (
    message_key BLOB PRIMARY KEY,
    received_at BIGINT NOT NULL
);
-- Dropping old keys.
CREATE INDEX event_message_time ON event_message (received_at);

-- net = total_minor - refunded_minor, never below 0 for a plausible order. status: placed | partially_refunded | refunded | cancelled.
-- flag: why an order is not plausible; flagged orders are kept and shown, and left out of every figure. source: import | server | page
-- (page: claimed by a public key, replaced when the server speaks of the same order, and left out of credit, lift, totals and training until
-- then). person_id is NULL once the person is erased.
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
-- A person's orders; revenue by time; what changed since credit was last computed.
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
-- Who bought this product?
CREATE INDEX order_line_product ON order_line (product_id);

-- Refunds and cancellations, each with its own reference so that a webhook sent twice counts once. amount_minor is what was taken off the
-- order; asked_minor what was asked for (NULL: all that is left). One that comes before its order waits with order_id NULL.
CREATE TABLE order_adjustment (
    ref          TEXT PRIMARY KEY,
    order_ref    TEXT NOT NULL,
    order_id     BIGINT REFERENCES shop_order (id),
    kind         TEXT NOT NULL,
    at           BIGINT NOT NULL,
    asked_minor  BIGINT,
    amount_minor BIGINT NOT NULL,
    lines        TEXT NOT NULL
);
CREATE INDEX order_adjustment_order ON order_adjustment (order_id);
-- Those that wait for their order, by its reference.
CREATE INDEX order_adjustment_order_ref ON order_adjustment (order_ref);
