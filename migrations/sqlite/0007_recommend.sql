-- The choice: trained models and the picks that they made per person.

-- kind: 'choice' (factors, neighbours, blend) or 'encoder' (fitted on the catalogue). status: 'ready'. The newest ready row of a kind is the
-- one in use; as_of is the instant up to which it knows the facts; metrics are its offline measures.
CREATE TABLE model (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    kind       TEXT NOT NULL,
    status     TEXT NOT NULL,
    as_of      BIGINT NOT NULL,
    params     TEXT NOT NULL,
    metrics    TEXT NOT NULL,
    artifact   BLOB,
    created_at BIGINT NOT NULL
);
-- The newest model of a kind.
CREATE INDEX model_latest ON model (kind, status, id);

-- Ranked picks per person, made by the job recommend.pick; person_id 0 holds what suits anybody (popular now).
CREATE TABLE pick (
    person_id  BIGINT NOT NULL,
    rank       BIGINT NOT NULL,
    product_id BIGINT NOT NULL REFERENCES product (id),
    score      REAL NOT NULL,
    reason     TEXT NOT NULL,
    model_id   BIGINT NOT NULL REFERENCES model (id),
    as_of      BIGINT NOT NULL,
    PRIMARY KEY (person_id, rank)
);
-- Old models go when no pick names them any more.
CREATE INDEX pick_model ON pick (model_id);
