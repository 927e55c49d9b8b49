-- The catalogue, and the vectors computed from it.

-- What the shop sells. Money in minor units of currency; attributes is a JSON object; content_hash covers the texts.
CREATE TABLE product (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    sku              TEXT NOT NULL UNIQUE,
    title            TEXT NOT NULL,
    description      TEXT NOT NULL,
    brand            TEXT,
    category_path    TEXT NOT NULL,
    price_minor      BIGINT NOT NULL,
    sale_price_minor BIGINT,
    currency         TEXT NOT NULL,
    stock            BIGINT,
    available        BOOLEAN NOT NULL,
    url              TEXT,
    image_url        TEXT,
    image_hash       TEXT,
    attributes       TEXT NOT NULL,
    content_hash     TEXT NOT NULL,
    created_at       BIGINT NOT NULL,
    updated_at       BIGINT NOT NULL,
    retired_at       BIGINT
);
-- "Bought in category" and browsing by category.
CREATE INDEX product_category ON product (category_path);
-- Snapshots in memory follow the catalogue by its changes.
CREATE INDEX product_updated ON product (updated_at);

-- Bytes of pictures, by SHA-256 (hex): product pictures and rendered banners. Kept in the database so that every replica has them.
CREATE TABLE asset (
    hash       TEXT PRIMARY KEY,
    mime       TEXT NOT NULL,
    bytes      BLOB NOT NULL,
    width      BIGINT,
    height     BIGINT,
    created_at BIGINT NOT NULL
);

-- One vector per product and encoder; content_hash tells whether the text changed since, so that nothing is embedded twice.
CREATE TABLE product_vector (
    product_id   BIGINT NOT NULL REFERENCES product (id),
    encoder      TEXT NOT NULL,
    content_hash TEXT NOT NULL,
    vector       BLOB NOT NULL,
    created_at   BIGINT NOT NULL,
    PRIMARY KEY (encoder, product_id)
);
