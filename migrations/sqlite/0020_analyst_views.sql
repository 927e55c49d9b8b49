-- Read-only views for analysts (docs/ANALYSTS.md): real timestamps in UTC, ids as numbers, and nothing that names a person: no e-mail
-- address, no name, no free text. Timestamps are ISO 8601 texts, which sort and which SQLite's date functions read.

-- Orders that count in reports: plausible, and not merely claimed by a page. Net is after refunds and cancellations.
CREATE VIEW v_order AS
SELECT
    o.id AS order_id,
    o.order_ref AS order_ref,
    o.person_id AS person_id,
    strftime('%Y-%m-%dT%H:%M:%S', o.placed_at / 1000000, 'unixepoch') || printf('.%06dZ', o.placed_at % 1000000) AS placed_at,
    o.currency AS currency,
    o.total_minor AS total_minor,
    o.refunded_minor AS refunded_minor,
    o.total_minor - o.refunded_minor AS net_minor,
    o.status AS status,
    o.source AS source,
    strftime('%Y-%m-%dT%H:%M:%S', o.updated_at / 1000000, 'unixepoch') || printf('.%06dZ', o.updated_at % 1000000) AS updated_at
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
    strftime('%Y-%m-%dT%H:%M:%S', p.first_seen_at / 1000000, 'unixepoch') || printf('.%06dZ', p.first_seen_at % 1000000) AS first_seen_at,
    strftime('%Y-%m-%dT%H:%M:%S', p.last_seen_at / 1000000, 'unixepoch') || printf('.%06dZ', p.last_seen_at % 1000000) AS last_seen_at
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
    strftime('%Y-%m-%dT%H:%M:%S', p.retired_at / 1000000, 'unixepoch') || printf('.%06dZ', p.retired_at % 1000000) AS retired_at
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
    strftime('%Y-%m-%dT%H:%M:%S', c.started_at / 1000000, 'unixepoch') || printf('.%06dZ', c.started_at % 1000000) AS started_at,
    strftime('%Y-%m-%dT%H:%M:%S', c.ended_at / 1000000, 'unixepoch') || printf('.%06dZ', c.ended_at % 1000000) AS ended_at
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
    LOWER(HEX(t.id)) AS touch_id,
    t.channel AS channel,
    t.arm AS arm,
    t.state AS state,
    t.person_id AS person_id,
    t.campaign_id AS campaign_id,
    t.variant_id AS variant_id,
    t.product_id AS product_id,
    t.placement_id AS placement_id,
    strftime('%Y-%m-%dT%H:%M:%S', t.due_at / 1000000, 'unixepoch') || printf('.%06dZ', t.due_at % 1000000) AS due_at,
    strftime('%Y-%m-%dT%H:%M:%S', t.contact_at / 1000000, 'unixepoch') || printf('.%06dZ', t.contact_at % 1000000) AS contact_at,
    strftime('%Y-%m-%dT%H:%M:%S', t.open_at / 1000000, 'unixepoch') || printf('.%06dZ', t.open_at % 1000000) AS opened_at,
    strftime('%Y-%m-%dT%H:%M:%S', t.click_at / 1000000, 'unixepoch') || printf('.%06dZ', t.click_at % 1000000) AS clicked_at,
    strftime('%Y-%m-%dT%H:%M:%S', t.viewable_at / 1000000, 'unixepoch') || printf('.%06dZ', t.viewable_at % 1000000) AS viewable_at
FROM touch t;

-- Every open, click, viewable, unsubscribe, bounce and complaint; actor: human, bot or proxy.
CREATE VIEW v_signal AS
SELECT
    LOWER(HEX(s.touch_id)) AS touch_id,
    s.kind AS kind,
    s.actor AS actor,
    strftime('%Y-%m-%dT%H:%M:%S', s.at / 1000000, 'unixepoch') || printf('.%06dZ', s.at % 1000000) AS at
FROM touch_signal s;

-- What touches earned of orders, one row per touch on an order's path. Sum one of the model columns, of one view_through.
CREATE VIEW v_credit AS
SELECT
    c.order_id AS order_id,
    o.person_id AS person_id,
    strftime('%Y-%m-%dT%H:%M:%S', o.placed_at / 1000000, 'unixepoch') || printf('.%06dZ', o.placed_at % 1000000) AS placed_at,
    o.currency AS currency,
    c.view_through AS view_through,
    c.position AS position,
    LOWER(HEX(c.touch_id)) AS touch_id,
    strftime('%Y-%m-%dT%H:%M:%S', c.earned_at / 1000000, 'unixepoch') || printf('.%06dZ', c.earned_at % 1000000) AS earned_at,
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
    strftime('%Y-%m-%dT%H:%M:%S', e.occurred_at / 1000000, 'unixepoch') || printf('.%06dZ', e.occurred_at % 1000000) AS occurred_at,
    strftime('%Y-%m-%dT%H:%M:%S', e.received_at / 1000000, 'unixepoch') || printf('.%06dZ', e.received_at % 1000000) AS received_at
FROM event e;

-- Who is left alone, and since when. scope 'global' (scope_id 0) or 'campaign'.
CREATE VIEW v_holdout AS
SELECT
    h.scope AS scope,
    h.scope_id AS scope_id,
    h.person_id AS person_id,
    h.arm AS arm,
    strftime('%Y-%m-%dT%H:%M:%S', h.assigned_at / 1000000, 'unixepoch') || printf('.%06dZ', h.assigned_at % 1000000) AS assigned_at
FROM holdout_assignment h;
