-- The catalogue's page: search, filters and orders that an index serves.

-- Which products a word, a category (all its steps), a brand or a finding in the text leads to. Words are lower case, those of scripts without
-- blanks are pairs of characters; what begins with # is no word (#c:category, #b:brand, #long, #notext). Follows the texts of product.
CREATE TABLE product_word (
    word       TEXT NOT NULL,
    product_id BIGINT NOT NULL REFERENCES product (id),
    PRIMARY KEY (word, product_id)
) WITHOUT ROWID;
-- New texts replace the words of the old ones.
CREATE INDEX product_word_product ON product_word (product_id);

-- The page's orders.
CREATE INDEX product_title_order ON product (lower(title), id);
CREATE INDEX product_price_order ON product (COALESCE(sale_price_minor, price_minor), id);
CREATE INDEX product_stock_order ON product (COALESCE(stock, 2000000000), id);
-- What needs a hand, in the page's own order; partial, so that a tidy catalogue costs nothing.
CREATE INDEX product_no_picture ON product (lower(title), id) WHERE image_hash IS NULL AND retired_at IS NULL;
CREATE INDEX product_sold_out ON product (lower(title), id) WHERE (stock <= 0 OR NOT available) AND retired_at IS NULL;
CREATE INDEX product_retired ON product (lower(title), id) WHERE retired_at IS NOT NULL;

-- For whom was this product picked, and for nobody?
CREATE INDEX pick_product ON pick (product_id, person_id);
-- The words and banners of one product.
CREATE INDEX ad_copy_product ON ad_copy (product_id, id);
CREATE INDEX creative_product ON creative (product_id, id);
