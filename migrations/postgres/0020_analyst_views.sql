-- Read-only views for analysts (docs/ANALYSTS.md): real timestamps in UTC, ids as numbers, and nothing that names a person: no e-mail
-- address, no name, no free text. Timestamps are TIMESTAMPTZ.

-- Orders that count in reports: plausible, and not merely claimed by a page. Net is after refunds and cancellations.
CREATE VIEW v_order AS
SELECT
    o.id AS order_id,
    o.order_ref AS order_ref,
    o.person_id AS person_id,
    TIMESTAMPTZ 'epoch' + o.placed_at * INTERVAL '1 microsecond' AS placed_at,
    o.currency AS currency,
    o.total_minor AS total_minor,
    o.refunded_minor AS refunded_minor,
    o.total_minor - o.refunded_minor AS net_minor,
    o.status AS status,
    o.source AS source,
    TIMESTAMPTZ 'epoch' + o.updated_at * INTERVAL '1 microsecond' AS updated_at
FROM shop_order o
WHERE o.flag IS NULL AND o.source <> 'page';

-- What was bought.
CREATE VIEW v_order_line AS
SELECT
    l.order_id AS order_id,
    l.line_no AS line_no,
    l.product_id AS product_id,
    l.sku AS sku,
    l.title AS title,
    l.quantity AS quantity,
    l.cancelled_quantity AS cancelled_quantity,
    l.unit_price_minor AS unit_price_minor
FROM order_line l JOIN shop_order o ON o.id = l.order_id
WHERE o.flag IS NULL AND o.source <> 'page' AND l.flag IS NULL;

-- People as numbers: no names, addresses or identities of theirs.
CREATE VIEW v_person AS
SELECT
    p.id AS person_id,
    p.country AS country,
    p.locale AS locale,
    p.time_zone AS time_zone,
    p.email_consent AS email_consent,
    p.ads_consent AS ads_consent,
    TIMESTAMPTZ 'epoch' + p.first_seen_at * INTERVAL '1 microsecond' AS first_seen_at,
    TIMESTAMPTZ 'epoch' + p.last_seen_at * INTERVAL '1 microsecond' AS last_seen_at
FROM person p
WHERE p.erased_at IS NULL AND p.merged_into IS NULL;

-- The catalogue.
CREATE VIEW v_product AS
SELECT
    p.id AS product_id,
    p.sku AS sku,
    p.title AS title,
    p.brand AS brand,
    p.category_path AS category_path,
    p.price_minor AS price_minor,
    p.sale_price_minor AS sale_price_minor,
    p.currency AS currency,
    p.stock AS stock,
    p.available AS available,
    TIMESTAMPTZ 'epoch' + p.retired_at * INTERVAL '1 microsecond' AS retired_at
FROM product p;

-- Campaigns.
CREATE VIEW v_campaign AS
SELECT
    c.id AS campaign_id,
    c.key AS key,
    c.name AS name,
    c.status AS status,
    c.channel AS channel,
    c.segment_id AS segment_id,
    s.name AS segment,
    c.holdout_bp / 10000.0 AS holdout_share,
    c.window_us / 3600000000 AS window_hours,
    TIMESTAMPTZ 'epoch' + c.started_at * INTERVAL '1 microsecond' AS started_at,
    TIMESTAMPTZ 'epoch' + c.ended_at * INTERVAL '1 microsecond' AS ended_at
FROM campaign c JOIN segment s ON s.id = c.segment_id;

-- The variants of campaigns.
CREATE VIEW v_variant AS
SELECT
    v.id AS variant_id,
    v.campaign_id AS campaign_id,
    v.name AS name,
    v.weight AS weight
FROM campaign_variant v;

-- Touches, planned to answered; arm 'ghost' is the holdout. opened, clicked and viewable are the first by a human.
CREATE VIEW v_touch AS
SELECT
    REPLACE(CAST(t.id AS TEXT), '-', '') AS touch_id,
    t.channel AS channel,
    t.arm AS arm,
    t.state AS state,
    t.person_id AS person_id,
    t.campaign_id AS campaign_id,
    t.variant_id AS variant_id,
    t.product_id AS product_id,
    t.placement_id AS placement_id,
    TIMESTAMPTZ 'epoch' + t.due_at * INTERVAL '1 microsecond' AS due_at,
    TIMESTAMPTZ 'epoch' + t.contact_at * INTERVAL '1 microsecond' AS contact_at,
    TIMESTAMPTZ 'epoch' + t.open_at * INTERVAL '1 microsecond' AS opened_at,
    TIMESTAMPTZ 'epoch' + t.click_at * INTERVAL '1 microsecond' AS clicked_at,
    TIMESTAMPTZ 'epoch' + t.viewable_at * INTERVAL '1 microsecond' AS viewable_at
FROM touch t;

-- Every open, click, viewable, unsubscribe, bounce and complaint; actor: human, bot or proxy.
CREATE VIEW v_signal AS
SELECT
    REPLACE(CAST(s.touch_id AS TEXT), '-', '') AS touch_id,
    s.kind AS kind,
    s.actor AS actor,
    TIMESTAMPTZ 'epoch' + s.at * INTERVAL '1 microsecond' AS at
FROM touch_signal s;

-- What touches earned of orders, one row per touch on an order's path. Sum one of the model columns, of one view_through.
CREATE VIEW v_credit AS
SELECT
    c.order_id AS order_id,
    o.person_id AS person_id,
    TIMESTAMPTZ 'epoch' + o.placed_at * INTERVAL '1 microsecond' AS placed_at,
    o.currency AS currency,
    c.view_through AS view_through,
    c.position AS position,
    REPLACE(CAST(c.touch_id AS TEXT), '-', '') AS touch_id,
    TIMESTAMPTZ 'epoch' + c.earned_at * INTERVAL '1 microsecond' AS earned_at,
    c.campaign_id AS campaign_id,
    c.variant_id AS variant_id,
    c.product_id AS product_id,
    c.channel AS channel,
    c.first_minor AS first_minor,
    c.last_minor AS last_minor,
    c.linear_minor AS linear_minor,
    c.time_decay_minor AS time_decay_minor,
    c.position_minor AS position_minor
FROM credit c JOIN shop_order o ON o.id = c.order_id
WHERE o.flag IS NULL AND o.source <> 'page';

-- What people did, without the properties.
CREATE VIEW v_event AS
SELECT
    e.person_id AS person_id,
    e.kind AS kind,
    e.name AS name,
    e.product_id AS product_id,
    TIMESTAMPTZ 'epoch' + e.occurred_at * INTERVAL '1 microsecond' AS occurred_at,
    TIMESTAMPTZ 'epoch' + e.received_at * INTERVAL '1 microsecond' AS received_at
FROM event e;

-- Who is left alone, and since when. scope 'global' (scope_id 0) or 'campaign'.
CREATE VIEW v_holdout AS
SELECT
    h.scope AS scope,
    h.scope_id AS scope_id,
    h.person_id AS person_id,
    h.arm AS arm,
    TIMESTAMPTZ 'epoch' + h.assigned_at * INTERVAL '1 microsecond' AS assigned_at
FROM holdout_assignment h;
