/* How the layer player looks. It is as wide as its node: narrow ones give the layers' names a line of their own. */

export const STYLE = `
.layerflow-player { container-type: inline-size; display: flex; flex-direction: column; gap: 4px; width: 100%; height: 100%;
  box-sizing: border-box; padding: 4px; font: 11px/1.5 sans-serif; color: var(--input-text, #ddd);
  background: var(--comfy-input-bg, #222); outline: none; overflow: hidden auto }
.layerflow-player:focus-visible { box-shadow: inset 0 0 0 1px #6aa0ff }
.layerflow-player:fullscreen { font-size: 14px; padding: 12px }
.layerflow-player .screen { position: relative; flex: 1 1 auto; min-height: 80px; display: flex; align-items: center;
  justify-content: center; overflow: hidden }
.layerflow-player canvas { cursor: crosshair }
.layerflow-player .readout { position: absolute; left: 0; bottom: 0; max-width: 100%; padding: 2px 5px; white-space: pre-wrap;
  font-variant-numeric: tabular-nums; color: #fff; background: #000b; pointer-events: none }
.layerflow-player .readout.above { bottom: auto; top: 0 }
.layerflow-player .readout:empty { display: none }
.layerflow-player .menu { position: absolute; z-index: 1; display: flex; flex-direction: column; background: var(--comfy-menu-bg, #333);
  box-shadow: 0 2px 8px #0008 }
.layerflow-player .menu button { padding: 5px 10px; border: 0; text-align: left }
.layerflow-player .menu button:hover { background: #3b6fd4; color: #fff }
.layerflow-player .bar { flex: none; display: flex; gap: 4px; align-items: center; flex-wrap: wrap }
.layerflow-player .bar .grow { flex: 1; min-width: 60px }
.layerflow-player button { font: inherit; min-width: 22px; padding: 1px 4px; color: inherit; background: var(--comfy-menu-bg, #333);
  border: 1px solid #5555; border-radius: 3px; cursor: pointer }
.layerflow-player button[aria-pressed=true] { background: #3b6fd4; color: #fff }
.layerflow-player select { font: inherit; color: inherit; background: var(--comfy-menu-bg, #333); border: 1px solid #5555 }
.layerflow-player input[type=color] { width: 22px; height: 18px; padding: 0; border: 0 }
.layerflow-player input[type=range] { min-width: 40px }
.layerflow-player .layers { flex: none }
.layerflow-player .layer { display: flex; gap: 4px; align-items: center }
.layerflow-player .layer .name { flex: 1; min-width: 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap }
.layerflow-player .layer .name small { opacity: .7 }
.layerflow-player .layer input { width: 70px }
@container (max-width: 300px) {
  .layerflow-player .layer { flex-wrap: wrap }
  .layerflow-player .layer .name { order: -1; flex: 1 0 100% }
  .layerflow-player .layer input { flex: 1 }
}
`
