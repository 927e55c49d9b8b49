-- Campaigns: who × what × where × when × how measured.

-- plan is the whole typed document (campaign::Plan); channel, segment_id, holdout_bp and window_us repeat parts of it, for reports and joins.
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
-- The tick: whose next run is due?
CREATE INDEX campaign_next ON campaign (status, next_run_at);
-- A segment in use cannot be deleted: who uses it?
CREATE INDEX campaign_segment ON campaign (segment_id);

-- Variants get ids of their own, so that touches and copies can point at them; settings is campaign::Variant.
CREATE TABLE campaign_variant (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    campaign_id BIGINT NOT NULL REFERENCES campaign (id),
    name        TEXT NOT NULL,
    weight      BIGINT NOT NULL,
    settings    TEXT NOT NULL
);
-- A variant keeps its id when the draft is edited: it is known by its name.
CREATE UNIQUE INDEX campaign_variant_name ON campaign_variant (campaign_id, name);

-- One firing of a campaign's schedule. cursor_person_id makes planning resumable: it moves in the same transaction as the touches it covers.
CREATE TABLE campaign_run (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    campaign_id      BIGINT NOT NULL REFERENCES campaign (id),
    scheduled_at     BIGINT NOT NULL,
    snapshot_id      BIGINT,
    status           TEXT NOT NULL,
    cursor_person_id BIGINT NOT NULL DEFAULT 0,
    planned          BIGINT NOT NULL DEFAULT 0,
    created_at       BIGINT NOT NULL,
    finished_at      BIGINT
);
-- A schedule fires once per instant, however many ticks see it due.
CREATE UNIQUE INDEX campaign_run_once ON campaign_run (campaign_id, scheduled_at);

-- Runs whose planning goes on.
CREATE INDEX campaign_run_open ON campaign_run (created_at) WHERE status = 'planning';

-- Places on pages that banners are shown in; a campaign names them by key.
CREATE TABLE placement (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    key        TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL,
    width      BIGINT NOT NULL,
    height     BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
