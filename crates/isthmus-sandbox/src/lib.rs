//! An emulator of Braze, with faults on demand.
