-- The choice: trained models and the picks that they made per person.

CREATE TABLE model (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    kind       TEXT NOT NULL,
    status     TEXT NOT NULL,
    params     TEXT NOT NULL,
    metrics    TEXT NOT NULL,
    artifact   BLOB,
    created_at BIGINT NOT NULL
);
CREATE INDEX model_latest ON model (kind, status, created_at);

-- Ranked picks per person, packed by the training job; person_id 0 holds what suits anybody (popular now).
CREATE TABLE pick (
    person_id  BIGINT NOT NULL,
    rank       BIGINT NOT NULL,
    product_id BIGINT NOT NULL REFERENCES product (id),
    score      REAL NOT NULL,
    reason     TEXT NOT NULL,
    model_id   BIGINT NOT NULL REFERENCES model (id),
    PRIMARY KEY (person_id, rank)
);
