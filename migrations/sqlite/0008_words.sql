-- Copy (generated text) and creatives (copy + product + template, composed).

CREATE TABLE ad_copy (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    campaign_id BIGINT NOT NULL,
    variant_id  BIGINT NOT NULL,
    product_id  BIGINT NOT NULL REFERENCES product (id),
    locale      TEXT NOT NULL,
    channel     TEXT NOT NULL,
    tone        TEXT NOT NULL,
    occasion    TEXT NOT NULL,
    generator   TEXT NOT NULL,
    status      TEXT NOT NULL,
    stale       BOOLEAN NOT NULL,
    subject     TEXT NOT NULL,
    preheader   TEXT NOT NULL,
    headline    TEXT NOT NULL,
    body        TEXT NOT NULL,
    cta         TEXT NOT NULL,
    findings    TEXT NOT NULL,
    facts_hash  TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL
);
-- Copy is written once per campaign × variant × product × locale × channel and shared by everybody who gets it. The brief's words travel
-- with it (tone, occasion), so that an edit is held against the same guardrails; stale: facts changed after a person had approved or edited.
CREATE UNIQUE INDEX ad_copy_once ON ad_copy (campaign_id, variant_id, product_id, locale, channel);

-- Banners: copy and product drawn in one format; the bytes lie in asset.
CREATE TABLE creative (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    campaign_id  BIGINT NOT NULL,
    variant_id   BIGINT NOT NULL,
    product_id   BIGINT NOT NULL REFERENCES product (id),
    copy_id      BIGINT NOT NULL REFERENCES ad_copy (id),
    locale       TEXT NOT NULL,
    format       TEXT NOT NULL,
    width        BIGINT NOT NULL,
    height       BIGINT NOT NULL,
    asset_hash   TEXT NOT NULL,
    inputs_hash  TEXT NOT NULL,
    findings     TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    updated_at   BIGINT NOT NULL
);
-- One banner per place; inputs_hash tells whether it must be drawn anew.
CREATE UNIQUE INDEX creative_once ON creative (campaign_id, variant_id, product_id, locale, format);
