// The figures of MeasureLayers as text on the node, below its chart.

import { app } from '../../../scripts/app.js'

const NODE = 'MeasureLayers'
const KEY = 'layerflow_figures'
const WIDGET = 'layerflow_figures'
const HEIGHT = 120 // pixels, at least
const CHART = 420 // room below the text

function makeBox() {
  const box = document.createElement('div')
  box.className = 'layerflow-figures'
  box.setAttribute('role', 'status')
  Object.assign(box.style, {
    font: '12px monospace',
    overflow: 'auto',
    padding: '4px 8px',
    userSelect: 'text',
    whiteSpace: 'pre-wrap'
  })
  return box
}

function showFigures(node, texts) {
  let widget = node.widgets?.find((candidate) => candidate.name === WIDGET)
  if (!widget) {
    widget = node.addDOMWidget(WIDGET, WIDGET, makeBox(), {
      serialize: false,
      getMinHeight: () => HEIGHT
    })
    widget.serialize = false
    const [width, height] = node.computeSize()
    node.setSize([Math.max(node.size[0], width), Math.max(node.size[1], height + CHART)])
  }
  widget.element.textContent = texts.join('\n\n')
  node.setDirtyCanvas?.(true, true)
}

app.registerExtension({
  name: 'layerflow.measure_layers',

  beforeRegisterNodeDef(nodeType, nodeData) {
    if (nodeData.name !== NODE) {
      return
    }
    const onExecuted = nodeType.prototype.onExecuted

    nodeType.prototype.onExecuted = function (output, ...rest) {
      onExecuted?.call(this, output, ...rest)
      showFigures(this, output?.[KEY] ?? [])
    }
  }
})
