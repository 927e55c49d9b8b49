//! Marquee: who hears from a shop, about which product, in which words, in which place and when; and what it was worth.
//!
//! The one way through the house: facts → audience → choice → words → creative → delivery → touch → credit. Folders carry these names.

pub mod app;
pub mod cli;
pub mod platform;

pub mod account;
pub mod inference;

pub mod catalog;
pub mod events;
pub mod people;
pub mod touches;

pub mod audience;
pub mod privacy;
pub mod recommend;

pub mod copywriter;
pub mod creative;

pub mod campaign;

pub mod adserver;
pub mod delivery;
pub mod tracking;

pub mod attribution;

pub mod demo;
pub mod import;

pub mod web;
pub mod webhooks;
