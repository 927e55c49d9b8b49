-- Segments: a named rule, and snapshots of who matched it when.

-- The rule is a tree in JSON; version counts its changes, so that a snapshot tells which rule it was taken by.
CREATE TABLE segment (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    key        TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL,
    rule       TEXT NOT NULL,
    version    BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

-- One taking of a segment's membership. status: building (cursor_person_id says how far) | complete | expired (members dropped, size kept:
-- the curve of size over time). taken_at is the moment that the rule was asked about.
CREATE TABLE segment_snapshot (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    segment_id       BIGINT NOT NULL REFERENCES segment (id),
    rule_version     BIGINT NOT NULL,
    taken_at         BIGINT NOT NULL,
    status           TEXT NOT NULL,
    size             BIGINT NOT NULL,
    cursor_person_id BIGINT NOT NULL DEFAULT 0,
    created_at       BIGINT NOT NULL,
    finished_at      BIGINT
);
-- The latest complete one, the one to go on with, and the curve.
CREATE INDEX segment_snapshot_latest ON segment_snapshot (segment_id, status, taken_at);

-- Who was in. The key is also the keyset by which members are read.
CREATE TABLE segment_member (
    snapshot_id BIGINT NOT NULL REFERENCES segment_snapshot (id),
    person_id   BIGINT NOT NULL,
    PRIMARY KEY (snapshot_id, person_id)
) WITHOUT ROWID;
