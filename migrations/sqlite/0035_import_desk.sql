-- Files that somebody uploaded to be imported. They live in the database, so that any copy of Marquee can import them.

-- status: uploading | uploaded | queued | running | done | failed. options: how to read it (columns, zone, currency, consent). report: what
-- the import came to. run_id: the job run that works on it, whose progress is shown.
CREATE TABLE import_file (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    kind       TEXT NOT NULL,
    name       TEXT NOT NULL,
    bytes      BIGINT NOT NULL,
    status     TEXT NOT NULL,
    options    TEXT NOT NULL,
    report     TEXT,
    error      TEXT,
    run_id     BIGINT,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
-- What nobody went on with is swept away, by age.
CREATE INDEX import_file_status ON import_file (status, updated_at);

-- The bytes, in pieces. part: file (dropped once it is imported) | rejects (the refused rows, kept for a while).
CREATE TABLE import_chunk (
    file_id BIGINT NOT NULL REFERENCES import_file (id),
    part    TEXT NOT NULL,
    seq     BIGINT NOT NULL,
    bytes   BLOB NOT NULL,
    PRIMARY KEY (file_id, part, seq)
);
