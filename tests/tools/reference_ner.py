# SPDX-License-Identifier: Apache-2.0
"""Labels of words with Python's own onnxruntime and tokenizers: what test_onnx_real_models.py compares with.

The rules for words, groups and windows are those of transformers' TokenClassificationPipeline (5.x), written anew; the
package itself would bring torch with it. Shown equal to it, text by text, when this was written.
"""

import json

import numpy as np
import onnxruntime
from tokenizers import Tokenizer


def tag(label):
    return label[2:] if label[:2] in ("B-", "I-") else label


class Ner:
    def __init__(self, folder, graph):
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.labels = [config["id2label"][str(i)] for i in range(len(config["id2label"]))]
        self.length_max = config["max_position_embeddings"]
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.unknown = self.tokenizer.token_to_id("[UNK]")
        self.computed = {}
        self.session = onnxruntime.InferenceSession(str(folder / graph), providers=["CPUExecutionProvider"])

    def logits(self, ids):
        feed = {
            "input_ids": np.array([ids], np.int64),
            "attention_mask": np.ones((1, len(ids)), np.int64),
            "token_type_ids": np.zeros((1, len(ids)), np.int64),
        }
        return self.session.run(None, {port.name: feed[port.name] for port in self.session.get_inputs()})[0][0]

    def tokens(self, text, stride=None):
        """For each window its tokens: scores of all labels, place, number, whether they continue a word. Kept."""
        if (text, stride) not in self.computed:
            self.computed[text, stride] = list(self.compute(text, stride))
        return self.computed[text, stride]

    def compute(self, text, stride):
        self.tokenizer.no_truncation()
        if stride is not None:
            self.tokenizer.enable_truncation(self.length_max, stride=stride)
        first = self.tokenizer.encode(text)
        for encoding in [first, *first.overflowing]:
            logits = self.logits(encoding.ids)
            scores = np.exp(logits - logits.max(-1, keepdims=True))
            scores /= scores.sum(-1, keepdims=True)
            yield [
                {
                    "scores": scores[i],
                    "start": start,
                    "end": end,
                    "index": i,
                    "goes_on": encoding.ids[i] != self.unknown and len(encoding.tokens[i]) != end - start,
                }
                for i, (start, end) in enumerate(encoding.offsets)
                if not encoding.special_tokens_mask[i]
            ]

    def entities(self, text, aggregation, stride=None):
        windows = [self.of_window(tokens, aggregation) for tokens in self.tokens(text, stride)]
        found = [entity for window in windows for entity in window]
        return overlapping(found) if len(windows) > 1 else found

    def of_window(self, tokens, aggregation):
        words = [[token] for token in tokens]
        if aggregation not in ("none", "simple"):
            words = []
            for token in tokens:
                if words and token["goes_on"]:
                    words[-1].append(token)
                else:
                    words.append([token])
        singles = [self.of_word(word, aggregation) for word in words]
        if aggregation == "none":
            return [dict(one, index=word[0]["index"]) for one, word in zip(singles, words) if one["entity"] != "O"]
        groups = []
        for one in singles:
            if groups and not one["entity"].startswith("B-") and tag(one["entity"]) == tag(groups[-1][-1]["entity"]):
                groups[-1].append(one)
            else:
                groups.append([one])
        named = [
            {
                "entity_group": group[0]["entity"].split("-", 1)[-1],
                "score": float(np.mean([one["score"] for one in group])),
                "start": group[0]["start"],
                "end": group[-1]["end"],
            }
            for group in groups
        ]
        return [one for one in named if one["entity_group"] != "O"]

    def of_word(self, tokens, aggregation):
        scores = tokens[0]["scores"]
        if aggregation == "max":
            scores = max((token["scores"] for token in tokens), key=lambda row: row.max())
        elif aggregation == "average":
            scores = np.mean([token["scores"] for token in tokens], axis=0)
        best = int(scores.argmax())
        return {
            "entity": self.labels[best],
            "score": float(scores[best]),
            "start": tokens[0]["start"],
            "end": tokens[-1]["end"],
        }


def overlapping(entities):
    """Of those that share a character the longest stays, of equally long ones the surest."""
    kept = []
    for entity in sorted(entities, key=lambda one: one["start"]):
        if not kept or entity["start"] >= kept[-1]["end"]:
            kept.append(entity)
            continue
        was, is_now = kept[-1]["end"] - kept[-1]["start"], entity["end"] - entity["start"]
        if (is_now, entity["score"]) > (was, kept[-1]["score"]):
            kept[-1] = entity
    return kept
