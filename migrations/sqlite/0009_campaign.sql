-- Campaigns: who × what × where × when × how measured.

CREATE TABLE campaign (
    id                INTEGER PRIMARY KEY AUTOINCREMENT,
    key               TEXT NOT NULL UNIQUE,
    name              TEXT NOT NULL,
    status            TEXT NOT NULL,
    channel           TEXT NOT NULL,
    segment_id        BIGINT NOT NULL REFERENCES segment (id),
    plan              TEXT NOT NULL,
    holdout_bp        BIGINT NOT NULL,
    window_us         BIGINT NOT NULL,
    next_run_at       BIGINT,
    created_at        BIGINT NOT NULL,
    updated_at        BIGINT NOT NULL,
    started_at        BIGINT,
    ended_at          BIGINT
);
CREATE INDEX campaign_next ON campaign (status, next_run_at);

CREATE TABLE campaign_variant (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    campaign_id BIGINT NOT NULL REFERENCES campaign (id),
    name        TEXT NOT NULL,
    weight      BIGINT NOT NULL,
    settings    TEXT NOT NULL
);
CREATE INDEX campaign_variant_campaign ON campaign_variant (campaign_id);

-- One firing of a campaign's schedule. cursor_person_id makes planning resumable.
CREATE TABLE campaign_run (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    campaign_id      BIGINT NOT NULL REFERENCES campaign (id),
    scheduled_at     BIGINT NOT NULL,
    snapshot_id      BIGINT,
    status           TEXT NOT NULL,
    cursor_person_id BIGINT NOT NULL DEFAULT 0,
    planned          BIGINT NOT NULL DEFAULT 0,
    skipped          TEXT NOT NULL,
    created_at       BIGINT NOT NULL,
    finished_at      BIGINT
);
CREATE UNIQUE INDEX campaign_run_once ON campaign_run (campaign_id, scheduled_at);

-- Which placements a banner campaign runs on.
CREATE TABLE placement (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    key        TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL,
    width      BIGINT NOT NULL,
    height     BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE TABLE campaign_placement (
    campaign_id  BIGINT NOT NULL REFERENCES campaign (id),
    placement_id BIGINT NOT NULL REFERENCES placement (id),
    PRIMARY KEY (campaign_id, placement_id)
);
