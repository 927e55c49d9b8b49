-- What products came to so far and for how many people they are picked: the catalogue's orders by it, and what nobody gets to see. One row per
-- product, made with it; the job attribution.products fills it every hour. Apart from product, so that counting is no change of a product.
CREATE TABLE product_figures (
    product_id   BIGINT PRIMARY KEY REFERENCES product (id),
    -- NULL until something was picked for anybody.
    picked       BIGINT,
    shown        BIGINT NOT NULL DEFAULT 0,
    clicked      BIGINT NOT NULL DEFAULT 0,
    -- By last touch, in minor units of the shop's currency.
    earned_minor BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX product_figures_shown ON product_figures (shown, product_id);
CREATE INDEX product_figures_clicked ON product_figures (clicked, product_id);
CREATE INDEX product_figures_earned ON product_figures (earned_minor, product_id);
CREATE INDEX product_figures_never ON product_figures (product_id) WHERE picked = 0;
INSERT INTO product_figures (product_id) SELECT id FROM product;
