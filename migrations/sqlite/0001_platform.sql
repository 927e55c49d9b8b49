-- The platform's own tables: settings, signing secret, job truth, API keys, audit.

-- Key/value settings that a running shop changes (brand kit, caps, quiet hours, sender). One JSON document per key.
CREATE TABLE setting (
    key        TEXT PRIMARY KEY,
    value      TEXT NOT NULL,
    updated_at BIGINT NOT NULL
);

-- What is due, what ran, what failed: the truth about jobs. The queue library only carries ids of these rows.
CREATE TABLE job_run (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    job             TEXT NOT NULL,
    queue           TEXT NOT NULL,
    unique_key      TEXT NOT NULL,
    args            TEXT NOT NULL,
    status          TEXT NOT NULL,
    scheduled_at    BIGINT NOT NULL,
    next_attempt_at BIGINT NOT NULL,
    attempts        BIGINT NOT NULL DEFAULT 0,
    max_attempts    BIGINT NOT NULL,
    dispatched_until BIGINT,
    lease_until     BIGINT,
    lease_owner     TEXT,
    started_at      BIGINT,
    finished_at     BIGINT,
    progress_done   BIGINT NOT NULL DEFAULT 0,
    progress_total  BIGINT NOT NULL DEFAULT 0,
    result          TEXT,
    error           TEXT,
    created_at      BIGINT NOT NULL
);
-- One run per job and occasion: cron ticks of many replicas collapse into one row.
CREATE UNIQUE INDEX job_run_once ON job_run (job, unique_key);
-- The dispatcher asks only for what is open and due.
CREATE INDEX job_run_due ON job_run (status, next_attempt_at);
-- The Jobs page: the last runs of one job, and the running or failed ones of all.
CREATE INDEX job_run_job ON job_run (job, id);
CREATE INDEX job_run_status ON job_run (status, id);

-- API keys: the secret itself is never stored, only its SHA-256.
CREATE TABLE api_key (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    prefix       TEXT NOT NULL UNIQUE,
    secret_hash  BLOB NOT NULL,
    name         TEXT NOT NULL,
    scopes       TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    last_used_at BIGINT,
    revoked_at   BIGINT
);
