# A GGUF of the llama architecture with a byte-level BPE as a folder in the layout of the Hugging Face hub, weights in float32:
# for engines that read no GGUF.
#
#   python hf_model.py <file.gguf> <folder>
import json
import struct
import sys
from pathlib import Path

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize

NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def name_of(name: str) -> str:
    if name == "token_embd.weight":
        return "model.embed_tokens.weight"
    if name == "output_norm.weight":
        return "model.norm.weight"
    if name == "output.weight":
        return "lm_head.weight"
    _, layer, part, _ = name.split(".")
    return f"model.layers.{layer}.{NAMES[part]}.weight"


def halves(weight: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp turns neighbouring pairs of a head, Hugging Face's llama its two halves."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def main(source: str, folder: str) -> None:
    reader = GGUFReader(source)

    def value(key: str):
        return reader.fields[key].contents()

    heads = value("llama.attention.head_count")
    kv_heads = value("llama.attention.head_count_kv")
    tensors: dict[str, np.ndarray] = {}
    for tensor in reader.tensors:
        weight = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if ".attn_q." in tensor.name:
            weight = halves(weight, heads)
        if ".attn_k." in tensor.name:
            weight = halves(weight, kv_heads)
        tensors[name_of(tensor.name)] = np.ascontiguousarray(weight)

    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, weight in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(weight.shape), "data_offsets": [at, at + weight.nbytes]}
        at += weight.nbytes
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    with open(out / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(head)) + head)
        for weight in tensors.values():
            file.write(weight.tobytes())

    tokens = value("tokenizer.ggml.tokens")
    kinds = value("tokenizer.ggml.token_type")
    eos = value("tokenizer.ggml.eos_token_id")
    control = [index for index, kind in enumerate(kinds) if kind == 3]
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "float32",
        "hidden_size": value("llama.embedding_length"),
        "intermediate_size": value("llama.feed_forward_length"),
        "num_hidden_layers": value("llama.block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "max_position_embeddings": value("llama.context_length"),
        "rms_norm_eps": value("llama.attention.layer_norm_rms_epsilon"),
        "rope_theta": value("llama.rope.freq_base"),
        "vocab_size": len(tokens),
        "tie_word_embeddings": "lm_head.weight" not in tensors,
        "hidden_act": "silu",
        "bos_token_id": None,
        "eos_token_id": eos,
    }
    added = [
        {"id": index, "content": tokens[index], "special": True, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        for index in control
    ]
    tokenizer = {
        "version": "1.0",
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True},
        "model": {
            "type": "BPE",
            "vocab": {token: index for index, token in enumerate(tokens)},
            "merges": value("tokenizer.ggml.merges"),
        },
    }
    template = reader.fields.get("tokenizer.chat_template")
    described = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": tokens[eos],
        "model_max_length": value("llama.context_length"),
        "clean_up_tokenization_spaces": False,
        **({} if template is None else {"chat_template": template.contents()}),
    }
    for name, content in {
        "config.json": config,
        "generation_config.json": {"eos_token_id": eos},
        "tokenizer.json": tokenizer,
        "tokenizer_config.json": described,
    }.items():
        (out / name).write_text(json.dumps(content), encoding="utf-8")


main(*sys.argv[1:])
