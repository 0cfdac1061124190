/* Puts the layer player onto PreviewLayers nodes.
 *
 * What a player shows outlives the page: the arrangement of its layers is a widget's value, and the node's properties
 * say how it is looked at and where the frames of its last run are.
 */

import { app } from '../../../scripts/app.js'
import { api } from '../../../scripts/api.js'
import { LayerPlayer } from './player.js'
import { frameName, readArrangement, readRun, readView, writeArrangement } from './player_state.js'

const NODE = 'PreviewLayers'
const KEY = 'layerflow_preview'
const RUN = 'layerflow_run'
const VIEW = 'layerflow_view'
const ARRANGEMENT = 'arrangement'
const BAKE = 'bake'
const SIZE = [460, 560]
const LEAST_SCREEN = 120
const STILL_WIDTH = 240
const RESTORED_AFTER = [0, 100, 500, 1500] // milliseconds
const GONE = "The frames are gone from ComfyUI's temporary folder: run the graph again."

function urlOf(run, filename) {
  const query = new URLSearchParams({ filename, subfolder: run.subfolder, type: 'temp' })
  return api.apiURL(`/view?${query}`)
}

function findWidget(node, name) {
  return node.widgets?.find((widget) => widget.name === name)
}

/* The arrangement is set by the player's rows, so its text stays out of sight. It is part of a run only if it is baked:
 * a change of what is looked at alone must not make the node run again. */
function hideArrangement(node) {
  const widget = findWidget(node, ARRANGEMENT)
  if (!widget) return
  widget.hidden = true
  widget.options = { ...widget.options, hidden: true }
  widget.computeSize = () => [0, -4]
  widget.draw = () => {}
  widget.serializeValue = () => (findWidget(node, BAKE)?.value ? widget.value : '')
}

function addPlayer(node) {
  const player = new LayerPlayer()
  const widget = node.addDOMWidget('player', 'layerflow_player', player.element, {
    serialize: false,
    hideOnZoom: false,
    getMinHeight: () => player.controlsHeight + LEAST_SCREEN
  })
  widget.serialize = false
  node.layerflowPlayer = player
  player.onarranged = (layers) => {
    const arrangement = findWidget(node, ARRANGEMENT)
    if (arrangement) arrangement.value = writeArrangement(layers)
  }
  player.onviewed = (view) => {
    node.properties[VIEW] = { ...view }
  }
  passWheel(player.element)
  node.setSize([Math.max(node.size[0], SIZE[0]), Math.max(node.size[1], SIZE[1])])
  const removed = node.onRemoved
  node.onRemoved = function (...rest) {
    player.dispose()
    return removed?.apply(this, rest)
  }
}

/* The wheel zooms the graph, unless there is something to scroll. In the Vue renderer it gets there by itself. */
function passWheel(element) {
  element.addEventListener('wheel', (event) => {
    if (element.scrollHeight > element.clientHeight || document.fullscreenElement) {
      event.stopPropagation()
    } else if (!element.closest('.lg-node')) {
      event.preventDefault()
      app.canvas.processMouseWheel(event)
    }
  })
}

/* Show a run; false where it cannot be read or is shown already. */
async function openRun(node, saved) {
  const run = readRun(saved)
  const player = node.layerflowPlayer
  if (!run || !player || node.layerflowShown === run.subfolder) return false
  node.layerflowShown = run.subfolder
  const names = Array.from({ length: run.frames }, (_, index) => frameName(index))
  const urls = names.map((name) => urlOf(run, name))
  const rows = readArrangement(findWidget(node, ARRANGEMENT)?.value)
  if (!(await isThere(urls[0]))) {
    player.showStill(run.still, GONE)
    return false
  }
  await player.open(run, urls, run.stream && urlOf(run, run.stream), rows)
  return true
}

async function isThere(url) {
  try {
    return (await fetch(url, { method: 'HEAD' })).ok
  } catch {
    return false
  }
}

/* A run has ended: show it, and remember it with the graph. */
async function takeOutput(node, output) {
  const saved = output?.[KEY]?.[0]
  const run = readRun(saved)
  if (!run) return
  node.properties[RUN] = run
  const player = node.layerflowPlayer
  if (!(await openRun(node, saved))) return
  node.properties[RUN] = { ...run, still: drawStill(player.canvas) }
  keepDraft()
  if (player.view.autoplay && !player.playing) player.toggle()
}

/* The frontend keeps a draft of the graph when it has changed. A result is no change that one would undo, so the draft
 * is kept without a step of history. */
function keepDraft() {
  api.dispatchEvent(new CustomEvent('graphChanged', { detail: app.graph.serialize() }))
}

function drawStill(canvas) {
  const scale = Math.min(1, STILL_WIDTH / canvas.width)
  const small = document.createElement('canvas')
  small.width = Math.max(1, Math.round(canvas.width * scale))
  small.height = Math.max(1, Math.round(canvas.height * scale))
  small.getContext('2d').drawImage(canvas, 0, 0, small.width, small.height)
  return small.toDataURL('image/jpeg', 0.7)
}

/* Show what a graph that was opened remembers, or what ran since then in this page: the frontend brings the outputs of
 * its tabs back a moment later than their nodes. */
function restore(node) {
  node.layerflowPlayer.setView(readView(node.properties?.[VIEW]))
  for (const delay of RESTORED_AFTER) {
    setTimeout(() => {
      if (node.graph)
        openRun(node, app.nodeOutputs?.[node.id]?.[KEY]?.[0] ?? node.properties?.[RUN])
    }, delay)
  }
}

app.registerExtension({
  name: 'LayerFlow.PreviewLayers',
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (nodeData.name !== NODE) return
    const created = nodeType.prototype.onNodeCreated
    nodeType.prototype.onNodeCreated = function (...rest) {
      const result = created?.apply(this, rest)
      hideArrangement(this)
      addPlayer(this)
      return result
    }
    const executed = nodeType.prototype.onExecuted
    nodeType.prototype.onExecuted = function (output, ...rest) {
      takeOutput(this, output)
      return executed?.call(this, output, ...rest)
    }
  },
  loadedGraphNode(node) {
    if (node.type === NODE) restore(node)
  }
})
