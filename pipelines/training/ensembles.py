"""Tree ensembles made smaller: written without the older form's overhead, with fewer trees, with smaller trees.

ONNX's ``TreeEnsemble`` (ai.onnx.ml, version 5) stores a node in a third of the bytes of the older operators: those
repeat each node's tree, number and mode as text. Trees are pruned as CART prunes them, by what a split contributes on
the training rows; what stays is weighed anew, so that it comes as close as possible to all trees together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.serving.explaining.trees import POSTS, NotExactError, Trees, attributes_of, trees_of

OPSET = 5  # of ai.onnx.ml
_ROUNDED = 1e-3  # what single precision leaves of a sum over hundreds of trees
_BADLY = 0.1  # of the variance that is wanted, where the trees are no forest's
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Ensemble:
    """Trees, those of a level after those of the level above, and where they stand in a graph.

    Attributes:
        trees: As the explanations read them.
        post: What follows their sum: NONE, LOGISTIC or SOFTMAX.
        classes: A classifier's, else empty.
    """

    trees: Trees
    post: str
    classes: list[Any]

    @classmethod
    def of(cls, node: Any) -> Ensemble:
        """Those of a graph's node.

        Raises:
            NotExactError: They can't be read.
        """
        given = attributes_of(node)
        if node.op_type == "TreeEnsemble":
            raise NotExactError("they are small already")
        classes = given.get("classlabels_int64s") or [name.decode() for name in given.get("classlabels_strings") or []]
        return cls(trees_of(node), given.get("post_transform", b"NONE").decode(), classes)

    @property
    def count(self) -> int:
        """How many trees there are."""
        return self.trees.levels[1]

    @cached_property
    def tree(self) -> Array:
        """Of each node the number of its tree; [nodes]."""
        found = np.arange(len(self.trees.feature))
        for start, end in zip(self.trees.levels[1:-1], self.trees.levels[2:], strict=True):
            found[start:end] = found[self.trees.parent[start:end]]
        return found

    @cached_property
    def first(self) -> Array:
        """Of each node the first of its two children, -1 of leaves; [nodes]."""
        found = np.full(len(self.trees.feature), -1)
        below = np.arange(self.count, len(found), 2)
        found[self.trees.parent[below]] = below
        return found

    def leaves(self, rows: Array) -> Array:
        """The node at which each row ends in each tree; [rows, trees]."""
        trees, first = self.trees, self.first
        swapped = np.zeros(len(first), dtype=np.intp)  # whether the second child is for rows that meet the condition
        inner = first >= 0
        swapped[inner] = ~trees.yes[first[inner]]
        at = np.tile(np.arange(self.count), (len(rows), 1))
        every = np.arange(len(rows))[:, None]
        for _ in trees.levels[2:]:
            values = rows[every, trees.feature[at]]
            met = (values <= trees.limit[at]) | (np.isnan(values) & trees.missing[at])
            below = first[at]
            at = np.where(below < 0, at, below + (met == swapped[at]))
        return at

    @cached_property
    def values(self) -> Array:
        """What each leaf adds to each output, 0 of other nodes; [nodes, outputs]."""
        found = np.zeros((len(self.trees.feature), self.trees.weights.shape[1]))
        found[self.trees.leaves] = self.trees.weights
        return found

    def outputs(self, rows: Array) -> Array:
        """What each tree adds for each row; [rows, trees, outputs]."""
        return self.values[self.leaves(rows)]

    def pruned(self, reached: Array, share: float) -> Ensemble:
        """Without the splits that contribute least on some rows; this share of the splits stays.

        Args:
            reached: Where those rows end, as ``leaves`` returns it.
        """
        trees, inner = self.trees, self.first >= 0
        count = np.bincount(reached.ravel(), minlength=len(inner)) + 1e-3 * ~inner
        total, squares = count[:, None] * self.values, (count[:, None] * self.values**2).sum(axis=1)
        for start, end in reversed(list(zip(trees.levels[1:-1], trees.levels[2:], strict=True))):
            above, pairs = trees.parent[start:end:2], (end - start) // 2  # two children each
            for of in (count, total, squares):
                of[above] += of[start:end].reshape(pairs, 2, *of.shape[1:]).sum(axis=1)
        mean = total / count[:, None]
        worth = squares - count * (mean**2).sum(axis=1)  # it falls from parent to child, so what is cut is a subtree
        splits = np.flatnonzero(inner)
        most = splits[np.argsort(-worth[splits], kind="stable")]  # of equal ones the upper one comes first
        stays = np.zeros(len(inner), dtype=bool)
        stays[most[: int(np.ceil(share * len(splits)))]] = True
        return self._kept(stays, mean)

    def _kept(self, split: Array, values: Array) -> Ensemble:
        """With only some of the splits; values of what is then a leaf."""
        trees = self.trees
        kept = np.zeros(len(split), dtype=bool)
        kept[: self.count] = True
        for start, end in zip(trees.levels[1:-1], trees.levels[2:], strict=True):
            above = trees.parent[start:end]
            kept[start:end] = kept[above] & split[above]
        return self._only(kept, kept & ~split, values)

    def _only(self, kept: Array, leaf: Array, values: Array) -> Ensemble:
        trees, number = self.trees, np.cumsum(kept) - 1
        ends = np.append(0, np.cumsum(kept))[trees.levels]
        levels = [int(end) for place, end in enumerate(ends) if place < 2 or end > ends[place - 1]]
        places = np.flatnonzero(leaf)
        smaller = replace(
            trees,
            levels=levels,
            parent=number[trees.parent[kept]],
            yes=trees.yes[kept],
            feature=np.where(leaf, 0, trees.feature)[kept],
            limit=trees.limit[kept],
            missing=trees.missing[kept],
            leaves=number[places],
            weights=values[places],
        )
        return replace(self, trees=smaller)

    def fewer(self, count: int) -> Ensemble:
        """Only the first trees."""
        kept = self.tree < count
        return self._only(kept, kept & (self.first < 0), self.values)

    def weighed(self, rows: Array, wanted: Array, of: int) -> Ensemble:
        """Each tree times a number that is not negative: the least squares of the difference to what is wanted.

        The trees of a forest are averaged, and the numbers then keep the average of as many trees as there were, so
        that no answer lies beyond those of single trees. Where that fits badly (boosted trees add up), there is none of
        that, and a number is added to each output.

        Args:
            wanted: Of shape [rows, outputs].
            of: How many trees there were.
        """
        from scipy.optimize import nnls

        each = self.outputs(rows)  # [rows, trees, outputs]
        columns = np.concatenate([each[:, :, output] for output in range(each.shape[2])])
        aim = np.concatenate([(wanted - self.trees.base)[:, output] for output in range(wanted.shape[1])])
        much = 1e3 * max(float(np.abs(columns).max(initial=0.0)) * np.sqrt(len(columns)), 1e-6)
        scale, _ = nnls(np.vstack([columns, np.full(self.count, much)]), np.append(aim, much * of))
        base = self.trees.base
        if np.square(columns @ scale - aim).mean() > _BADLY * max(float(np.var(aim)), 1e-12):
            mean, target = each.mean(axis=0), wanted.mean(axis=0)
            moved = np.concatenate([(each - mean)[:, :, output] for output in range(each.shape[2])])
            scale, _ = nnls(moved, np.concatenate([(wanted - target)[:, output] for output in range(wanted.shape[1])]))
            base = target - (mean * scale[:, None]).sum(axis=0)
        weights = self.trees.weights * scale[self.tree[self.trees.leaves]][:, None]
        return replace(self, trees=replace(self.trees, weights=weights, base=base))

    def nodes(self, node: Any, *, labels: bool) -> list[Any]:
        """The graph's nodes that answer in the place of another one, under the same names.

        Args:
            labels: Whether the first output, the class, is needed.

        Raises:
            NotExactError: The form has no room for them: a leaf of it adds to one output only.
        """
        trees, source, outputs = self.trees, node.input[0], list(node.output)
        if not self.classes:
            if self.post != "NONE" or trees.weights.shape[1] != 1:
                raise NotExactError("they have several outputs")
            return [self._node(source, outputs[0], trees.weights[:, 0], trees.base, post=0)]
        answer, name = outputs[1], f"{outputs[1]}_"
        if len(self.classes) == 2 and trees.weights.shape[1] == 1:
            score, base = trees.weights[:, 0], trees.base
            if self.post == "LOGISTIC":  # of two numbers, 0 and x, softmax gives what the logistic function gives of x
                found = [self._node(source, answer, score, base, post=POSTS.index("SOFTMAX"), target=1, targets=2)]
            elif self.post == "NONE" and (score >= 0).all():
                found = [self._node(source, name, score, base, post=0), *_both(name, answer)]
            else:
                raise NotExactError(f"two classes end in {self.post}")
        elif len(self.classes) == 2 and self.post == "NONE" and self._shares():
            found = [self._node(source, name, trees.weights[:, 1], trees.base[1:], post=0), *_both(name, answer)]
        else:
            found = [self._by_class(source, answer)]
        return [*found, *(self._label(answer, outputs[0]) if labels else [])]

    def _shares(self) -> bool:
        """Whether each leaf has both classes' shares, which are 1 together over all trees."""
        both, tree = self.trees.weights.sum(axis=1), self.tree[self.trees.leaves]
        of_trees = both[np.unique(tree, return_index=True)[1]]
        return not self.trees.base.any() and bool(
            np.allclose(both, of_trees[tree], atol=1e-6) and abs(of_trees.sum() - 1) < _ROUNDED
        )

    def _by_class(self, source: str, output: str) -> Any:
        if (np.count_nonzero(self.trees.weights, axis=1) > 1).any() or len(self.classes) < 3:
            raise NotExactError("a leaf adds to several outputs")
        target = np.abs(self.trees.weights).argmax(axis=1)
        weights = self.trees.weights[np.arange(len(target)), target]
        post, targets = POSTS.index(self.post), len(self.classes)
        return self._node(source, output, weights, self.trees.base, post=post, target=target, targets=targets)

    def _node(
        self, source: str, output: str, weights: Array, base: Array, *, post: int, target: Any = 0, targets: int = 1
    ) -> Any:
        """https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsemble.html."""
        from onnx import TensorProto, helper

        trees = self.trees
        inner, leaf = np.flatnonzero(self.first >= 0), self.first < 0
        # A tree must have a node: of one leaf, a node that leads to it twice.
        alone = np.flatnonzero(leaf[: self.count])
        number = np.zeros(len(leaf), dtype=np.int64)
        number[inner], number[trees.leaves] = np.arange(len(inner)), np.arange(len(trees.leaves))
        yes = self.first[inner] + ~trees.yes[self.first[inner]]
        no = self.first[inner] + trees.yes[self.first[inner]]
        nodes = np.append(inner, alone)
        roots = np.where(leaf[: self.count], 0, number[: self.count])
        roots[alone] = len(inner) + np.arange(len(alone))
        target = np.broadcast_to(target, len(weights))
        # There is no place for what is added in any case, so the first tree of each output adds it.
        tree = self.tree[trees.leaves]
        weights = weights.astype(np.float64)
        for place, more in enumerate(base):
            mine = target == (place if len(base) > 1 else target[0])
            if more and not (mine & (np.abs(weights) > 0)).any():
                raise NotExactError("an output has a base value and no leaf")
            if more:
                weights[mine & (tree == tree[mine].min())] += more

        def tensor(values: Array, kind: int) -> Any:
            return helper.make_tensor("", kind, [len(values)], values.tobytes(), raw=True)

        ways = {"true": np.append(yes, alone), "false": np.append(no, alone)}
        told = {
            **{f"nodes_{way}nodeids": number[to].tolist() for way, to in ways.items()},
            **{f"nodes_{way}leafs": leaf[to].astype(int).tolist() for way, to in ways.items()},
            "tree_roots": roots.tolist(),
            "nodes_featureids": trees.feature[nodes].tolist(),
            "nodes_splits": tensor(trees.limit[nodes].astype(np.float32), TensorProto.FLOAT),
            "nodes_modes": tensor(np.zeros(len(nodes), dtype=np.uint8), TensorProto.UINT8),
            "leaf_targetids": target.tolist(),
            "leaf_weights": tensor(weights.astype(np.float32), TensorProto.FLOAT),
        }
        if trees.missing[nodes].any():
            told["nodes_missing_value_tracks_true"] = trees.missing[nodes].astype(int).tolist()
        return helper.make_node(
            "TreeEnsemble",
            [source],
            [output],
            domain="ai.onnx.ml",
            aggregate_function=1,
            n_targets=targets,
            post_transform=post,
            **told,
        )

    def _label(self, probabilities: str, output: str) -> list[Any]:
        from onnx import TensorProto, helper

        kind = TensorProto.INT64 if isinstance(self.classes[0], int) else TensorProto.STRING
        values = self.classes if kind == TensorProto.INT64 else [name.encode() for name in self.classes]
        place, known = f"{output}_place", f"{output}_classes"
        return [
            helper.make_node("ArgMax", [probabilities], [place], axis=1, keepdims=0),
            helper.make_node("Constant", [], [known], value=helper.make_tensor("", kind, [len(values)], values)),
            helper.make_node("Gather", [known, place], [output]),
        ]


def _both(second: str, output: str) -> list[Any]:
    """The probabilities of two classes, from the second's."""
    from onnx import TensorProto, helper

    one, first = f"{second}one", f"{second}first"
    return [
        helper.make_node("Constant", [], [one], value=helper.make_tensor("", TensorProto.FLOAT, [1], [1.0])),
        helper.make_node("Sub", [one, second], [first]),
        helper.make_node("Concat", [first, second], [output], axis=1),
    ]


def rewritten(content: bytes, ensemble: Ensemble, *, labels: bool) -> bytes:
    """A graph whose tree ensemble is another one.

    Args:
        labels: Whether its first output, the class, stays.
    """
    import onnx
    from onnx import helper

    model = onnx.load_from_string(content)
    graph = model.graph
    place = next(at for at, node in enumerate(graph.node) if node.op_type.startswith("TreeEnsemble"))
    nodes = ensemble.nodes(graph.node[place], labels=labels)
    every = [*graph.node[:place], *nodes, *graph.node[place + 1 :]]
    del graph.node[:]
    graph.node.extend(every)
    if ensemble.classes and not labels:
        gone = graph.output[0].name
        del graph.output[0]
        _drop(graph, gone)
    domains = {item.domain: item.version for item in model.opset_import} | {"ai.onnx.ml": OPSET}
    domains[""] = max(domains.get("", 0), 13)
    del model.opset_import[:]
    model.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in domains.items())
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _drop(graph: Any, output: str) -> None:
    """The nodes that only an output needed which is gone."""
    needed = {item.name for item in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed |= set(node.input)
            kept.append(node)
    del graph.node[:]
    graph.node.extend(reversed(kept))
