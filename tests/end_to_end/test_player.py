"""The layer player in a real browser: what its canvas shows, against the true composite."""

import numpy as np
import pytest

from .browser import chromium, new_page, open_page, run_and_wait
from .comfy_server import PACK, error_of

ARTIFACTS = PACK / "tests" / "artifacts"
GRAPH = {
    "1": {"class_type": "LayerFlowSampleClip", "inputs": {"seed": 8}},
    "2": {"class_type": "LayerResidual", "inputs": {"layers": ["1", 8]}},
    "3": {"class_type": "PreviewLayers", "inputs": {"layers": ["2", 0], "longest_side": 720}},
}
PLAYER = "app.graph._nodes.find(n => n.type === 'PreviewLayers').layerflowPlayer"

pytestmark = pytest.mark.skipif(chromium() is None, reason="no Chromium here")


@pytest.fixture(scope="module")
def page(server):
    with open_page(server, 1400, 1000) as opened:
        yield opened


@pytest.fixture(scope="module")
def player(server, page, checkout):
    """The player after a run."""
    return run_player(page, server, f"{checkout.name}-player")


def run_player(page, server, name: str):
    page.evaluate("async (graph) => { await app.loadApiJson(graph, 'player') }", GRAPH)
    page.wait_for_timeout(1500)
    page.evaluate(
        "() => { const at = {LayerFlowSampleClip: [40, 80], LayerResidual: [40, 480], "
        "PreviewLayers: [460, 80]}; for (const n of app.graph._nodes) n.pos = at[n.type] }"
    )
    entry = run_and_wait(page, server)
    assert entry["status"]["status_str"] == "success", error_of(entry)
    page.wait_for_function(f"{PLAYER}.frames?.peek(0)", timeout=30_000)
    ARTIFACTS.mkdir(exist_ok=True)
    page.keyboard.press(".")
    page.wait_for_timeout(800)
    page.screenshot(path=str(ARTIFACTS / f"{name}.png"))
    return page


@pytest.fixture(scope="module")
def truth():
    from layerflow_core.layers import Foreground, LayerVideo
    from layerflow_core.toy.world import draw_scene, render

    true = render(draw_scene(8, held_out=True))
    return LayerVideo(
        (Foreground("foreground", true.foreground, true.alpha),),
        true.background.contiguous(),
        true.blended,
        8.0,
    )


@pytest.fixture(autouse=True)
def fresh(player):
    """Every test begins with the player as it is after a run."""
    player.evaluate(f"""async () => {{ const p = {PLAYER}; p.stop(); p.setLoop(true); p.setMatte(false); p.setWipe(null); p.setBackdrop('black');
        p.layers.sort((a, b) => a.row - b.row);
        p.layers.forEach((l, i) => {{ l.visible = l.kind === 'foreground' || l.kind === 'background'; l.opacity = 1; l.solo = false }}); p.changed(); await p.show(0) }}""")


def canvas(page) -> np.ndarray:
    """[H, W, 3] bytes that are on the screen."""
    data = page.evaluate(
        "() => "
        f"{{ const c = {PLAYER}.canvas; return [c.width, c.height, [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]] }}"
    )
    return np.array(data[2], dtype=np.uint8).reshape(data[1], data[0], 4)[..., :3].astype(int)


def differs(page, expected) -> int:
    return int(abs(canvas(page) - np.rint(255 * expected.permute(1, 2, 0).numpy())).max())


def press(page, layer: str, text: str) -> None:
    page.locator(
        f".layerflow-player .layer[data-layer='{layer}'] button", has_text=text
    ).first.click()


def test_it_shows_the_composite(player, truth):
    assert differs(player, truth.recompose()[0]) <= 2


def test_solo_and_mute(player, truth):
    press(player, "background", "S")
    assert differs(player, truth.background[0]) <= 1
    press(player, "background", "S")
    press(player, "background", "M")
    assert differs(player, truth.foreground[0] * truth.alpha[0]) <= 2, "over black"
    press(player, "background", "M")
    press(player, "foreground", "M")
    assert differs(player, truth.background[0]) <= 1


def test_opacity_and_order(player, truth):
    player.evaluate(f"{PLAYER}.setOpacity(1, 0.5)")
    half = truth.foreground[0] * truth.alpha[0] * 0.5 + truth.background[0] * (
        1 - truth.alpha[0] * 0.5
    )
    assert differs(player, half) <= 2
    player.evaluate(f"{PLAYER}.setOpacity(1, 1)")
    press(player, "foreground", "↓")
    assert differs(player, truth.background[0]) <= 1, "the background lies above now"
    names = player.evaluate(
        "[...document.querySelectorAll('.layerflow-player .layer')].map(row => row.dataset.layer)"
    )
    assert names == ["blended", "residual", "background", "foreground"]


def test_residual_blended_matte_and_wipe(player, truth):
    press(player, "residual", "M")
    assert differs(player, truth.blended[0]) <= 4
    press(player, "residual", "M")
    player.get_by_role("button", name="matte").click()
    assert differs(player, truth.alpha[0].expand(3, -1, -1)) <= 1
    player.get_by_role("button", name="matte").click()
    player.get_by_role("button", name="wipe").click()
    import torch

    wiped = torch.cat([truth.recompose()[0][..., :48], truth.blended[0][..., 48:]], -1)
    assert differs(player, wiped) <= 2


def test_backdrop(player, truth):
    press(player, "foreground", "S")
    player.locator(".layerflow-player select").select_option("white")
    alpha = truth.alpha[0]
    assert differs(player, truth.foreground[0] * alpha + 1 - alpha) <= 2
    player.locator(".layerflow-player select").select_option("checker")
    shown = canvas(player)[(alpha[0] == 0).numpy()]
    assert {tuple(v) for v in shown} == {(102, 102, 102), (153, 153, 153)}


def test_scrub_step_and_keys(player, truth):
    screen = player.locator(".layerflow-player canvas")
    player.locator(".layerflow-player input[title='Frame']").fill("9")
    player.wait_for_function(f"{PLAYER}.frame === 9 && {PLAYER}.frames.peek(9)")
    assert differs(player, truth.recompose()[9]) <= 2
    player.locator(".layerflow-player").focus()
    for key, frame in (
        ("ArrowRight", 10),
        ("ArrowLeft", 9),
        ("End", 15),
        ("ArrowRight", 0),
        ("ArrowLeft", 15),
        ("Home", 0),
    ):
        player.keyboard.press(key)
        player.wait_for_function(f"{PLAYER}.frame === {frame}")
    player.keyboard.press("Shift+Digit3")  # from the top: blended, residual, foreground
    player.wait_for_function(f"!{PLAYER}.layers[1].visible")
    screen.hover()
    assert "background" in player.locator(".layerflow-player .readout").text_content()


def test_it_plays_at_its_rate_and_loops(player):
    player.evaluate(
        "() => "
        f"{{ window.seen = []; const p = {PLAYER}; const draw = p.draw.bind(p); p.draw = () => {{ draw(); if (p.playing && window.seen.at(-1)?.[0] !== p.frame) window.seen.push([p.frame, performance.now()]) }} }}"
    )
    player.locator(".layerflow-player button[title^='Play (']").click()
    player.wait_for_timeout(4500)
    assert player.evaluate(f"{PLAYER}.stream.playing"), "the browser's decoder plays"
    player.locator(".layerflow-player button[title^='Play (']").click()
    player.wait_for_timeout(300)
    seen = player.evaluate("window.seen")
    frames = [frame for frame, _ in seen]
    steps = [(after - before) % 16 for before, after in zip(frames, frames[1:])]
    assert steps.count(1) >= 0.9 * len(steps) and sum(steps) > 16, "in order and around"
    rate = sum(steps) / (seen[-1][1] - seen[0][1]) * 1000
    assert 7 < rate < 9
    player.wait_for_timeout(500)
    assert len(player.evaluate("window.seen")) == len(seen), "it stands still once stopped"
    player.evaluate(f"() => {{ delete {PLAYER}.draw }}")


def test_its_rate_is_the_clip_s_on_every_screen(player):
    """A screen of 60 frames per second, whose clock is turned by hand, shows 24 of a clip of 24."""
    shown = player.evaluate(f"""async () => {{
        const p = {PLAYER}, stream = p.stream, show = p.show.bind(p), later = window.requestAnimationFrame, fps = p.run.fps, shown = []
        let tick = null, clock = performance.now()
        window.requestAnimationFrame = (f) => f.name === 'tick' ? (tick = f, 0) : later(f)
        p.show = (i) => {{ shown.push(i); return show(i) }}
        try {{
            p.run.fps = 24
            p.stream = null // as where the browser cannot play the video
            p.start()
            for (let i = 0; i < 120; i++) await tick(clock += 1000 / 60)
        }} finally {{ window.requestAnimationFrame = later; delete p.show; p.stop(); p.run.fps = fps; p.stream = stream }}
        return shown }}""")
    assert abs(len(shown) - 48) <= 1 and shown == [(1 + i) % 16 for i in range(len(shown))]


def test_pixel_values_under_the_pointer(player, truth):
    box = player.locator(".layerflow-player canvas").bounding_box()
    x, y = 40, 30
    player.mouse.move(
        box["x"] + (x + 0.5) / 96 * box["width"], box["y"] + (y + 0.5) / 64 * box["height"]
    )
    text = player.locator(".layerflow-player .readout").text_content()
    value = np.rint(255 * truth.background[0, :, y, x].numpy()).astype(int)
    assert (
        f"{x}, {y}\n" in text
        and "residual +0.00" in text
        and f"background {value[0]} {value[1]} {value[2]}" in text
    )
    assert (
        f"α {float(truth.alpha[0, 0, y, x]):.2f}" in text
        or f"α {float(truth.alpha[0, 0, y, x]):.3f}" in text
    )


def test_the_graphics_card_draws_what_the_pure_functions_do(player):
    """Straight layers, opacity, order, residual, matte, wipe: within one level."""
    worst = player.evaluate(f"""async () => {{
        const base = '/extensions/ComfyUI-LayerFlow/layerflow/'
        const [{{ GpuCompositor }}, {{ compositeFrame }}] = await Promise.all(
            ['gpu_compositor.js', 'compositing.js'].map((name) => import(base + name)))
        const p = {PLAYER}, gpu = new GpuCompositor(), {{ width, height }} = p.run
        const bitmap = await p.frames.load(3), bytes = p.frames.bytesOf(3)
        const orders = [[0, 1, 2, 3], [1, 0, 2, 3]], worst = {{}}
        const black = {{ kind: 'solid', colour: [0, 0, 0] }}, teal = {{ kind: 'solid', colour: [10, 200, 90] }}
        for (const order of orders) for (const opacity of [1, 0.37]) for (const shown of [['foreground'], ['background', 'foreground'], ['background', 'foreground', 'residual'], ['residual'], []])
            for (const [name, view] of Object.entries({{ black: {{ backdrop: black }}, checker: {{ backdrop: {{ kind: 'checker' }} }}, matte: {{ backdrop: teal, matte: true }}, wipe: {{ backdrop: teal, wipe: 0.3 }} }})) {{
                const layers = order.map((i) => p.layers[i]).map((l) => ({{ ...l, solo: false, visible: shown.includes(l.kind), opacity }}))
                const whole = {{ matte: false, wipe: null, ...view }}
                const drawn = gpu.draw(bitmap, [bitmap.width, bitmap.height], 5, width, height, layers, whole)
                const canvas = new OffscreenCanvas(width, height), context = canvas.getContext('2d')
                context.drawImage(drawn, 0, 0)
                const got = context.getImageData(0, 0, width, height).data, expected = compositeFrame(bytes, width, height, layers, whole)
                let most = 0
                for (let i = 0; i < got.length; i++) most = Math.max(most, Math.abs(got[i] - expected[i]))
                worst[name] = Math.max(worst[name] ?? 0, most)
            }}
        return worst }}""")
    assert set(worst) == {"black", "checker", "matte", "wipe"} and max(worst.values()) <= 1


def reopen(page, how: str) -> None:
    graph = page.evaluate("JSON.stringify(app.graph.serialize())")
    if how == "reload":
        page.reload()
        page.wait_for_function("window.app?.graph?._nodes?.some(n => n.type === 'PreviewLayers')")
    else:
        page.evaluate(
            "async (text) => { app.graph.clear(); app.nodeOutputs = {}; await app.loadGraphData(JSON.parse(text)) }",
            graph,
        )
    page.wait_for_timeout(2500)


@pytest.mark.parametrize("how", ["open again", "reload"])
def test_it_comes_back_as_it_was(server, checkout, player, truth, how):
    page = new_page(player.context.browser, server, 1400, 1000)
    try:
        run_player(page, server, f"{checkout.name}-player-{how.replace(' ', '-')}")
        page.evaluate(f"{PLAYER}.setBackdrop('white')")
        page.evaluate(f"{PLAYER}.setOpacity(1, 0.5)")
        press(page, "foreground", "↓")
        press(page, "background", "M")
        page.evaluate(f"{PLAYER}.seek(5)")
        if how == "reload":  # the frontend keeps its draft when the graph has changed
            page.mouse.click(1200, 900)
            page.wait_for_timeout(1500)
        reopen(page, how)
        page.wait_for_function(f"{PLAYER}.frames?.peek(5)", timeout=15_000)
        alpha = truth.alpha[5] * 0.5
        assert differs(page, truth.foreground[5] * alpha + 1 - alpha) <= 2
        page.screenshot(path=str(ARTIFACTS / f"{checkout.name}-player-back-{how[:4]}.png"))
    finally:
        page.close()


def test_frames_that_are_gone_leave_a_still_and_say_so(server, player):
    page = new_page(player.context.browser, server, 1400, 1000)
    try:
        run_player(page, server, "gone")
        graph = page.evaluate("JSON.stringify(app.graph.serialize())")
        graph = graph.replace("layerflow_preview/", "layerflow_preview/" + "f" * 32 + '","x":"')
        page.evaluate(
            "async (text) => { app.graph.clear(); app.nodeOutputs = {}; await app.loadGraphData(JSON.parse(text)) }",
            graph,
        )
        page.wait_for_timeout(2500)
        assert "gone" in page.locator(".layerflow-player .readout").text_content()
        assert canvas(page).std() > 10, "the last still"
    finally:
        page.close()


def test_a_right_click_saves_the_frame_with_its_alpha(player, truth, tmp_path):
    from PIL import Image

    player.evaluate(f"{PLAYER}.setVisible(0, false)")  # the background
    player.locator(".layerflow-player canvas").click(button="right", position={"x": 20, "y": 20})
    with player.expect_download() as download:
        player.locator(".layerflow-player .menu button", has_text="with alpha").click()
    download.value.save_as(tmp_path / "frame.png")
    assert player.locator(".layerflow-player .menu").count() == 0
    saved = np.asarray(Image.open(tmp_path / "frame.png").convert("RGBA")).astype(float) / 255
    alpha = truth.alpha[0, 0].numpy()
    assert abs(saved[..., 3] - alpha).max() <= 1.1 / 255
    colour = truth.foreground[0].permute(1, 2, 0).numpy()
    assert abs((saved[..., :3] - colour) * alpha[..., None]).max() <= 2.1 / 255


@pytest.mark.parametrize("width", [220, 400, 900])
def test_nothing_is_cut_at_any_width(player, checkout, width):
    node = "app.graph._nodes.find(n => n.type === 'PreviewLayers')"
    size = player.evaluate(f"[...{node}.size]")
    player.evaluate(f"() => {{ {node}.setSize([{width}, 560]); app.canvas.setDirty(true, true) }}")
    player.wait_for_timeout(800)
    cut = player.evaluate("""() => {
        const root = document.querySelector('.layerflow-player'), box = root.getBoundingClientRect()
        return [...root.querySelectorAll('button, input, select, .name, canvas')]
            .filter((part) => { const own = part.getBoundingClientRect()
                return own.left < box.left - 1 || own.right > box.right + 1 || own.bottom > box.bottom + 1 })
            .map((part) => part.title || part.className || part.tagName) }""")
    player.screenshot(path=str(ARTIFACTS / f"{checkout.name}-player-{width}.png"))
    player.evaluate(f"(size) => {{ {node}.setSize(size); app.canvas.setDirty(true, true) }}", size)
    player.wait_for_timeout(300)
    assert cut == []


def test_many_players_leave_nothing_behind(server, player):
    """Twelve players are opened and removed; their frames go with them."""
    player.evaluate("""() => { window.players = []; const run = app.graph._nodes.find(n => n.type === 'PreviewLayers').layerflowPlayer;
        for (let i = 0; i < 12; i++) { const n = LiteGraph.createNode('PreviewLayers'); app.graph.add(n); n.layerflowPlayer.open(run.run, run.frames.urls); window.players.push(n) } }""")
    player.wait_for_timeout(1500)
    assert player.evaluate("window.players.every(n => n.layerflowPlayer.frames.decoded.size > 0)")
    player.evaluate("() => { for (const n of window.players) app.graph.remove(n) }")
    player.wait_for_timeout(500)
    assert player.evaluate(
        "window.players.every(n => n.layerflowPlayer.frames === null && "
        "n.layerflowPlayer.canvas.width === 0 && !n.layerflowPlayer.playing)"
    )
    assert player.evaluate("document.querySelectorAll('.layerflow-player').length") == 1
    assert player.evaluate("document.querySelectorAll('video').length") == 0


def test_the_vue_renderer_shows_it_too(server, checkout, player, truth):
    if player.evaluate(
        "app.ui.settings.settingsParamLookup?.['Comfy.VueNodes.Enabled'] === undefined && "
        "app.extensionManager?.setting?.get('Comfy.VueNodes.Enabled') === undefined"
    ):
        pytest.skip("this frontend has no Vue nodes")
    page = new_page(player.context.browser, server, 1400, 1000)
    page.evaluate(
        "async () => { await app.extensionManager.setting.set('Comfy.VueNodes.Enabled', true) }"
    )
    try:
        run_player(page, server, f"{checkout.name}-player-vue")
        if not page.locator(".lg-node", has_text="LayerFlow Preview Layers").count():
            pytest.skip(
                "this frontend's Vue nodes are a trial that does not show the graph that is open"
            )
        page.evaluate(f"{PLAYER}.setBackdrop('black')")
        assert page.locator(".lg-node .layerflow-player").count() == 1
        assert differs(page, truth.recompose()[0]) <= 2
        press(page, "foreground", "M")
        assert differs(page, truth.background[0]) <= 1
    finally:
        page.evaluate(
            "async () => { await app.extensionManager.setting.set('Comfy.VueNodes.Enabled', false) }"
        )
        page.close()
