-- The gallery by what copies came to: one row per copy that was ever sent or shown; the job attribution.copies keeps it.
CREATE TABLE copy_figures (
    copy_id BIGINT PRIMARY KEY REFERENCES ad_copy (id),
    sent    BIGINT NOT NULL,
    clicked BIGINT NOT NULL
);
CREATE INDEX copy_figures_sent ON copy_figures (sent, copy_id);
CREATE INDEX copy_figures_clicked ON copy_figures (clicked, copy_id);
INSERT INTO copy_figures (copy_id, sent, clicked)
SELECT copy_id, SUM(sent), SUM(clicked) FROM copy_result WHERE copy_id IN (SELECT id FROM ad_copy) GROUP BY copy_id;
