//! Hands the linker the order of functions, `packaging/layout.ld`.

use std::env;

fn main() {
    const LAYOUT: &str = "packaging/layout.ld";
    println!("cargo::rerun-if-changed={LAYOUT}");
    println!("cargo::rerun-if-changed=build.rs");
    let of = |name: &str| env::var(name).unwrap_or_default();
    // mold reads no such script; a program that is not optimized gains nothing
    let flags = of("CARGO_ENCODED_RUSTFLAGS");
    if of("PROFILE") == "release" && of("CARGO_CFG_TARGET_OS") == "linux" && !flags.contains("mold") {
        println!("cargo::rustc-link-arg-bins=-T{}/{LAYOUT}", of("CARGO_MANIFEST_DIR"));
    }
}
