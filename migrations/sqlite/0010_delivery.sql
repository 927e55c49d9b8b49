-- Delivery: rate budgets shared by all workers, and bounces as they came in.

-- Token buckets per SMTP server ("server:…") and recipient domain ("domain:…"); refilled by elapsed time when tokens are reserved.
CREATE TABLE rate_bucket (
    key        TEXT PRIMARY KEY,
    tokens     REAL NOT NULL,
    updated_at BIGINT NOT NULL
);

-- Bounces and complaints, each once (source_key), whether they came as an SMTP reply, a DSN or a feedback report.
-- email_key is a SHA-256: nothing here names anybody.
CREATE TABLE bounce (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    touch_id   BLOB,
    email_key  TEXT NOT NULL,
    class      TEXT NOT NULL,
    status     TEXT,
    diagnostic TEXT,
    source_key TEXT NOT NULL UNIQUE,
    at         BIGINT NOT NULL
);
-- Repeated soft bounces of one address suppress it.
CREATE INDEX bounce_address ON bounce (email_key, at);
