"""Port a TensorFlow checkpoint: python tools/port_tf_weights.py [checkpoint=…] [output=…]."""

from pathlib import Path

from omegaconf import DictConfig

from hpr import cli, porting


def main(cfg: DictConfig) -> None:
    """Ports the checkpoint and says what became of its variables."""
    checkpoint = Path(cfg.checkpoint)
    output = Path(cfg.output) if cfg.output else porting.default_output(checkpoint)
    ported = porting.port(checkpoint, output)
    provenance = ported.provenance
    print(f"{provenance.kind:<12} {provenance.architecture}, step {provenance.step}")
    print(f"{'ported':<12} {ported.used} variables, {ported.size:,} numbers")
    print(f"{'left out':<12} {ported.optimizer_slots} optimizer slots")
    if ported.unused:
        print(f"{'':<12} {', '.join(ported.unused)}")
    print(f"{'wrote':<12} {output}")


if __name__ == "__main__":
    cli.run(main, "port")
