-- Delivery: rate budgets shared by all workers, and bounces as they came in.

-- Token buckets per SMTP server ("server:…") and recipient domain ("domain:…"); refilled by elapsed time at the claim.
CREATE TABLE rate_bucket (
    key        TEXT PRIMARY KEY,
    tokens     REAL NOT NULL,
    updated_at BIGINT NOT NULL
);

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
