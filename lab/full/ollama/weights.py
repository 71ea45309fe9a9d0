"""Writes a tiny model of random weights, which llama.cpp loads and which says words: `weights.py FILE`."""

import sys

import gguf
import numpy as np

WORDS = b"the node answers a question about models and memory with words that mean nothing at all".split()
LAYERS, HEADS, WIDTH, HIDDEN, CONTEXT = 2, 4, 128, 256, 131072


def main(path: str) -> None:
    """Write the model."""
    kind = gguf.TokenType
    tokens = [(b"<unk>", kind.UNKNOWN), (b"<s>", kind.CONTROL), (b"</s>", kind.CONTROL)]
    tokens += [(b"<0x%02X>" % byte, kind.BYTE) for byte in range(256)]
    said = len(tokens)
    tokens += [("\u2581".encode() + word, kind.NORMAL) for word in WORDS]
    model = gguf.GGUFWriter(path, "llama")
    model.add_block_count(LAYERS)
    model.add_context_length(CONTEXT)
    model.add_embedding_length(WIDTH)
    model.add_feed_forward_length(HIDDEN)
    model.add_head_count(HEADS)
    model.add_layer_norm_rms_eps(1e-5)
    model.add_tokenizer_model("llama")
    model.add_token_list([token for token, _ in tokens])
    model.add_token_scores([-float(number) for number in range(len(tokens))])
    model.add_token_types([int(kind) for _, kind in tokens])
    rng = np.random.default_rng(0)

    def add(name: str, *shape: int) -> np.ndarray:
        weights = rng.normal(0, 0.1, shape).astype(np.float32)
        model.add_tensor(name, weights)
        return weights

    # The first column decides which tokens may be said, chance decides which of them is.
    add("token_embd.weight", len(tokens), WIDTH)[:, 0] = 4
    allowed = add("output.weight", len(tokens), WIDTH)[:, 0]
    allowed[:] = -9
    allowed[said:] = 0
    allowed[2] = 0.25
    model.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    for layer in range(LAYERS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            add(f"blk.{layer}.{name}.weight", WIDTH, WIDTH)
        add(f"blk.{layer}.ffn_gate.weight", HIDDEN, WIDTH)
        add(f"blk.{layer}.ffn_up.weight", HIDDEN, WIDTH)
        add(f"blk.{layer}.ffn_down.weight", WIDTH, HIDDEN)
        for name in ("attn_norm", "ffn_norm"):
            model.add_tensor(f"blk.{layer}.{name}.weight", np.ones(WIDTH, np.float32))
    model.write_header_to_file()
    model.write_kv_data_to_file()
    model.write_tensors_to_file()
    model.close()


if __name__ == "__main__":
    main(sys.argv[1])
