//! Operations → command lines and bundles; output → facts. Spawns nothing and writes nothing.
