//! Integration tests: one binary, one file per slice. Tests that need a database run on SQLite and on Postgres.

mod accounts;
mod adserver;
mod support;

mod attribution;
mod audience;
mod audience_world;
mod campaign;
mod catalog;
mod copywriter;
mod creative;
mod delivery;
mod events;
mod hostile;
mod http;
mod import;
mod kill;
mod lift_worlds;
mod look;
mod people;
mod platform;
mod privacy;
mod queue;
mod real_shop;
mod recommend;
mod replicas;
mod report_files;
mod reports;
mod schemathesis;
mod segment_sdk;
mod structure;
mod touches;
mod tracking;
mod traits;
mod web;
