// The figures of MeasureLayers as text on the node, below its chart.

import { app } from '../../../scripts/app.js'
import { addTextWidget } from '../layerflow/text_widget.js'

const NODE = 'MeasureLayers'
const KEY = 'layerflow_figures'
const WIDGET = 'layerflow_figures'
const HEIGHT = 120 // pixels, at least
const CHART = 420 // room below the text

function showFigures(node, texts) {
  let widget = node.widgets?.find((candidate) => candidate.name === WIDGET)
  if (!widget) {
    const style = { font: '12px monospace', userSelect: 'text' }
    widget = addTextWidget(node, WIDGET, 'layerflow-figures', style, { getMinHeight: () => HEIGHT })
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
