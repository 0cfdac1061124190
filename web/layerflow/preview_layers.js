/* Puts the layer player onto PreviewLayers nodes. */

import { app } from '../../../scripts/app.js'
import { api } from '../../../scripts/api.js'
import { LayerPlayer } from './player.js'

const NODE = 'PreviewLayers'
const KEY = 'layerflow_preview'
const SIZE = [460, 560]
const LEAST_HEIGHT = 340

function urlOf(file) {
  const query = new URLSearchParams({
    filename: file.filename,
    subfolder: file.subfolder,
    type: file.type,
    r: file.run
  })
  return api.apiURL(`/view?${query}`)
}

function addPlayer(node) {
  const player = new LayerPlayer()
  const widget = node.addDOMWidget('player', 'layerflow_player', player.element, {
    serialize: false,
    hideOnZoom: false,
    getMinHeight: () => LEAST_HEIGHT
  })
  widget.serializeValue = () => undefined
  node.layerflowPlayer = player
  node.setSize([Math.max(node.size[0], SIZE[0]), Math.max(node.size[1], SIZE[1])])
  const removed = node.onRemoved
  node.onRemoved = function (...rest) {
    player.dispose()
    return removed?.apply(this, rest)
  }
}

function openOutput(node, output) {
  const run = output?.[KEY]?.[0]
  if (run && node.layerflowPlayer) node.layerflowPlayer.open(run, run.frames.map(urlOf))
}

app.registerExtension({
  name: 'LayerFlow.PreviewLayers',
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (nodeData.name !== NODE) return
    const created = nodeType.prototype.onNodeCreated
    nodeType.prototype.onNodeCreated = function (...rest) {
      const result = created?.apply(this, rest)
      addPlayer(this)
      return result
    }
    const executed = nodeType.prototype.onExecuted
    nodeType.prototype.onExecuted = function (output, ...rest) {
      openOutput(this, output)
      return executed?.call(this, output, ...rest)
    }
  },
  // A graph that is opened again within the session shows what its last run made.
  loadedGraphNode(node) {
    if (node.type === NODE) openOutput(node, app.nodeOutputs?.[node.id])
  }
})
