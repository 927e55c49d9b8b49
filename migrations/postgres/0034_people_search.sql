-- Finding people by the beginning of a name, in order and page by page, compared byte by byte so that a beginning is a range.
CREATE INDEX person_first_name ON person ((LOWER(first_name) COLLATE "C"), id) WHERE first_name IS NOT NULL;
CREATE INDEX person_last_name ON person ((LOWER(last_name) COLLATE "C"), id) WHERE last_name IS NOT NULL;
-- The same for addresses and ids, through the primary key.
ALTER TABLE person_identity ALTER COLUMN value TYPE TEXT COLLATE "C";
-- How many people there are, and the newest of them, without reading their rows.
CREATE INDEX person_living ON person (id) WHERE erased_at IS NULL;
