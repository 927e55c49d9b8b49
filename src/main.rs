//! The `marquee` binary; everything is in the library.

use clap::Parser as _;

fn main() -> std::process::ExitCode {
    // One ring-based TLS provider for the whole process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    marquee::cli::main(marquee::cli::Cli::parse())
}
