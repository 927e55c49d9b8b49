-- People who use Marquee: users, their sessions, one-time links, and what they did.

-- One row per user. An invited user has no password yet. (Not called "user": Postgres reserves that word.)
CREATE TABLE app_user (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    email          TEXT NOT NULL UNIQUE,
    name           TEXT NOT NULL,
    role           TEXT NOT NULL,
    password_hash  TEXT,
    totp_secret    BLOB,
    totp_last_step BIGINT NOT NULL DEFAULT 0,
    locale         TEXT,
    time_zone      TEXT,
    theme          TEXT NOT NULL DEFAULT 'auto',
    created_at     BIGINT NOT NULL,
    disabled_at    BIGINT,
    last_seen_at   BIGINT
);

-- Sessions: only the hash of the cookie's token is kept, so that a copy of the database opens none.
CREATE TABLE user_session (
    token_hash   BLOB PRIMARY KEY,
    user_id      BIGINT NOT NULL REFERENCES app_user (id),
    created_at   BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    address      TEXT NOT NULL,
    agent        TEXT NOT NULL
);
-- A user's own list of sessions, and their end at a password change.
CREATE INDEX user_session_user ON user_session (user_id);

-- One-time links for set-up, invitation and reset. Only hashes are kept.
CREATE TABLE user_link (
    token_hash BLOB PRIMARY KEY,
    purpose    TEXT NOT NULL,
    user_id    BIGINT REFERENCES app_user (id),
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at    BIGINT
);
-- A new link for the same purpose ends the older ones.
CREATE INDEX user_link_user ON user_link (user_id, purpose);

-- Codes that stand in for a lost authenticator, each once.
CREATE TABLE recovery_code (
    user_id   BIGINT NOT NULL REFERENCES app_user (id),
    code_hash BLOB NOT NULL,
    used_at   BIGINT,
    PRIMARY KEY (user_id, code_hash)
);

-- Who did what, when and in which role. Rows are only ever added; retention deletes the oldest.
CREATE TABLE audit_entry (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    at         BIGINT NOT NULL,
    actor      TEXT NOT NULL,
    actor_role TEXT NOT NULL,
    action     TEXT NOT NULL,
    subject    TEXT NOT NULL,
    detail     TEXT NOT NULL,
    address    TEXT NOT NULL
);
-- The log filtered by who and by what, newest first, without a scan.
CREATE INDEX audit_entry_actor ON audit_entry (actor, id);
CREATE INDEX audit_entry_action ON audit_entry (action, id);
