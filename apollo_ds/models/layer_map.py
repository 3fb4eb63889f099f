"""Layer maps: which unique layer stands at each position of a deeper network.

One map serves both uses. While a stage trains, `layer_map[i]` is the unique layer that runs at position i. When the
model grows, the same map says which old layer the new layer i is copied from.
"""

from collections.abc import Callable

from apollo_ds.errors import UserError

NO_LAYER = -1
"""The entry in a map of a growth from zero layers: there is no old layer."""
LayerMap = tuple[int, ...]
Maker = Callable[[int, int], LayerMap]
"""Takes the numbers of unique layers and of positions, and returns a map."""
LAYER_MAPS: dict[str, Maker] = {}
"""By name: maps that place layers, and also say from which layers new ones are copied."""
PLACEMENTS: dict[str, Maker] = {}
"""By name: maps that place layers. `LAYER_MAPS` are among them."""


def places(function: Maker) -> Maker:
    """Register a function as a map that places layers. Its name is the value in a recipe."""
    PLACEMENTS[function.__name__] = function
    return function


def grows(function: Maker) -> Maker:
    """Register a function as a map that also says what new layers are copied from."""
    LAYER_MAPS[function.__name__] = function
    return places(function)


@grows
def interpolate(source: int, target: int) -> LayerMap:
    """Spread `source` layers evenly over `target` positions (Apollo, eq. 12): 3 -> 6 is 0 0 1 1 2 2.

    With integers, not with the float division of the published code, which is off by one for some pairs (14 -> 18).
    If `source` divides `middle`, interpolating source -> middle -> target equals source -> target for every target,
    so growth leaves the network at each depth from `middle` on exactly as it was.
    """
    return tuple(i * source // target for i in range(target))


@grows
def stack(source: int, target: int) -> LayerMap:
    """Repeat the layers bottom to top (StackBERT; Apollo, eq. 11): 3 -> 6 is 0 1 2 0 1 2.

    An incomplete last repetition takes the top layers: 3 -> 8 is 0 1 2 0 1 2 1 2.
    """
    repeated = target // source * source
    return (*(i % source for i in range(repeated)), *range(source - (target - repeated), source))


@grows
def duplicate_top(source: int, target: int) -> LayerMap:
    """Put copies of the top layers on top (MSLT): 3 -> 5 is 0 1 2 1 2. Beyond twice the layers, again from there."""
    layers = list(range(source))
    while len(layers) < target:
        layers += layers[-min(len(layers), target - len(layers)) :]
    return tuple(layers)


@grows
def duplicate_middle(source: int, target: int) -> LayerMap:
    """Repeat the middle layers right after themselves, as many as are added: 4 -> 6 is 0 1 2 1 2 3.

    That is SOLAR's depth up-scaling (Kim et al. 2023, arXiv 2312.15166): one copy without its last m layers, and on it
    another without its first m. 32 -> 48 is 0 ... 23 and 8 ... 31, with m = 8. Where the layers left out of both are an
    odd number, the lower copy lacks one more: 4 -> 5 is 0 1 1 2 3.
    `middle_block` repeats one of the blocks that the layers are cut into: 6 -> 9 is 0 1 2 3 1 2 3 4 5 here, 0 1 2 0 1 2
    3 4 5 there.
    """
    layers = list(range(source))
    while len(layers) < target:
        block = min(len(layers), target - len(layers))
        first = (len(layers) - block) // 2
        layers[first + block : first + block] = layers[first : first + block]
    return tuple(layers)


@grows
def middle_block(source: int, target: int) -> LayerMap:
    """Cut the layers into blocks of as many as are added, and repeat the middle one after itself (MIDAS).

    Of n blocks that is number ceil(n / 2) - 1, counted from 0 (Saunshi et al. 2024, arXiv 2409.19044). 6 -> 9 has
    blocks of 3 and repeats the first of two, 0 1 2 0 1 2 3 4 5; 9 -> 12 repeats the second of three. n need not be
    whole: 5 -> 7 has 2.5 blocks and repeats layers 2 and 3. Beyond twice the layers, again from there.
    """
    layers = list(range(source))
    while len(layers) < target:
        block = min(len(layers), target - len(layers))
        end = -(-len(layers) // (2 * block)) * block
        layers[end:end] = layers[end - block : end]
    return tuple(layers)


@grows
def block_expansion(source: int, target: int) -> LayerMap:
    """Put copies between the layers, evenly (LLaMA Pro, Wu et al. 2024, arXiv 2401.02415): 4 -> 6 is 0 1 1 2 3 3.

    The layers are cut into as many groups as are added, as equal as they can be, and a copy of its last layer stands
    after each group: 32 -> 40 copies every fourth. Beyond twice the layers, again from there.
    """
    layers = list(range(source))
    while len(layers) < target:
        groups = min(len(layers), target - len(layers))
        ends = {(group + 1) * len(layers) // groups - 1 for group in range(groups)}
        layers = [layer for i, layer in enumerate(layers) for _ in range(1 + (i in ends))]
    return tuple(layers)


@places
def prefix(source: int, target: int) -> LayerMap:
    """The lowest `target` of the layers (bert2BERT's first stage): 6 -> 2 is 0 1."""
    return tuple(range(min(source, target)))


def added(layer_map: LayerMap) -> LayerMap:
    """The positions of new layers: all but the first that is made from each old one."""
    return tuple(i for i, layer in enumerate(layer_map) if layer == NO_LAYER or layer in layer_map[:i])


def placed(name: str, source: int, target: int, first_stays: bool) -> LayerMap:
    """Return which of `source` unique layers runs at each of `target` positions, by the map `name`.

    With `first_stays`, the first layer is unlike all others (`Family.first_layer_is_unlike`). It stays first and runs
    nowhere else, and the map places the others: by `interpolate`, 3 -> 7 is then 0 1 1 1 2 2 2.

    From zero layers every map gives `NO_LAYER` for each position: 0 -> 3 is `NO_LAYER` three times, 0 -> 0 is empty.

    Raises:
        UserError: the first layer stays, and there are no other layers to place.
    """
    if source == 0:
        return (NO_LAYER,) * target
    maker = PLACEMENTS[name]
    if not first_stays or name == prefix.__name__ or source == target:
        return maker(source, target)
    if source < 2:
        raise UserError(
            f"method: the model's first layer is unlike all others, so one layer cannot stand for {target}; let each "
            "stage have at least 2, by method.layers, method.first_layers or model.num_layers"
        )
    return (0, *(1 + layer for layer in maker(source - 1, target - 1)))
