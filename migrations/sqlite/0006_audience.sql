-- Segments: a named rule, and snapshots of who matched it when.

CREATE TABLE segment (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    key        TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL,
    rule       TEXT NOT NULL,
    version    BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE segment_snapshot (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    segment_id   BIGINT NOT NULL REFERENCES segment (id),
    rule_version BIGINT NOT NULL,
    taken_at     BIGINT NOT NULL,
    status       TEXT NOT NULL,
    size         BIGINT NOT NULL
);
CREATE INDEX segment_snapshot_latest ON segment_snapshot (segment_id, status, taken_at);

CREATE TABLE segment_member (
    snapshot_id BIGINT NOT NULL REFERENCES segment_snapshot (id),
    person_id   BIGINT NOT NULL,
    PRIMARY KEY (snapshot_id, person_id)
);
